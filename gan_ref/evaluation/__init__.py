"""How good is it, and has it collapsed? Metrics, each a small function of arrays, named after its paper.

    inception_score.py   certain and varied classes           Salimans et al. 2016, §4
    frechet.py           Gaussians fitted to features         Heusel et al. 2017
    kernel.py            unbiased MMD² of features            Bińkowski et al. 2018
    manifold.py          precision and recall                 Kynkäänniemi et al. 2019
    modes.py             modes seen, reverse KL, entropy      Srivastava et al. 2017
    support.py           support size from collisions         Arora & Zhang 2017
    neighbours.py        is it memorised?

metrics.py measures all of them, and report.py sets them beside those of real data. Features and class
probabilities come from a classifier of the data's own labels (classifier.py) or from the published Inception
network (inception.py).
"""
