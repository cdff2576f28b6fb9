"""Published data by name, downloaded once into the cache by pooch and held against published checksums.

The addresses and checksums are those of torchvision (mnist.py, cifar.py, svhn.py and flowers102.py in
torchvision/datasets, MD5), and for lfw those of scikit-learn (sklearn/datasets/_lfw.py, SHA-256). Licences
are those that Keras's documentation (mnist), the authors' repository (fashion-mnist) and page (svhn) state.
"""

import sys
from dataclasses import dataclass, replace
from pathlib import Path

from gan_ref.data.dataset import Dataset, Options
from gan_ref.data.streams import members, stream_dataset
from gan_ref.data.svhn import variables
from gan_ref.errors import PassingTrouble, UserError
from gan_ref.files import cache_folder, lock, read_untrusted, write_atomically

BATCHES = [*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"]  # CIFAR-10's, in its archive


@dataclass(frozen=True)
class Published:
    """Where a set lies, and what its authors ask for."""

    base: str  # the address before the names of the files
    files: dict[str, str]  # name: "algorithm:checksum"
    licence: str
    citation: str
    classes: tuple[str, ...] = ()  # where its files do not tell their names
    address: str = ""  # of the only file, after the base, where it is not the file's name


UNSTATED = "no licence is stated"
PUBLISHED = {
    "mnist": Published(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        {
            "train-images-idx3-ubyte.gz": "md5:f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "train-labels-idx1-ubyte.gz": "md5:d53e105ee54ea40749a09fcbcd1e9432",
            "t10k-images-idx3-ubyte.gz": "md5:9fb629c4189551a2d022fa330f9573f3",
            "t10k-labels-idx1-ubyte.gz": "md5:ec29112dd5afa0611ce80d1b7f02629c",
        },
        "CC BY-SA 3.0",
        "LeCun, Bottou, Bengio and Haffner 1998, Gradient-based learning applied to document recognition",
    ),
    "fashion-mnist": Published(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        {
            "train-images-idx3-ubyte.gz": "md5:8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "train-labels-idx1-ubyte.gz": "md5:25c81989df183df01b3e8a0aad5dffbe",
            "t10k-images-idx3-ubyte.gz": "md5:bef4ecab320f06d8554ea6380940ec79",
            "t10k-labels-idx1-ubyte.gz": "md5:bb300cfdad3c16e7a12a480ee83cd310",
        },
        "MIT licence",
        "Xiao, Rasul and Vollgraf 2017, Fashion-MNIST, arXiv:1708.07747",
        tuple("top trouser pullover dress coat sandal shirt sneaker bag boot".split()),
    ),
    "cifar10": Published(
        "https://www.cs.toronto.edu/~kriz/",
        {"cifar-10-python.tar.gz": "md5:c58f30108f718f92721af3b95e74349a"},
        UNSTATED,
        "Krizhevsky 2009, Learning multiple layers of features from tiny images",
    ),
    "svhn": Published(
        "http://ufldl.stanford.edu/housenumbers/",
        {
            "train_32x32.mat": "md5:e26dedcc434d2e4c54c9b2d4a06d8373",
            "test_32x32.mat": "md5:eb5a983be6a315427106f1b164d9cef3",
        },
        "for non-commercial use only",
        "Netzer, Wang, Coates, Bissacco, Wu and Ng 2011, Reading digits in natural images",
    ),
    "flowers102": Published(
        "https://www.robots.ox.ac.uk/~vgg/data/flowers/102/",
        {
            "102flowers.tgz": "md5:52808999861908f626f3c1f4e79d11fa",
            "imagelabels.mat": "md5:e0620be6f572b9609742df49c70aed4d",
        },
        UNSTATED,
        "Nilsback and Zisserman 2008, Automated flower classification over a large number of classes",
    ),
    "lfw": Published(
        "https://ndownloader.figshare.com/files/",
        {"lfw-funneled.tgz": "sha256:b47c8422c8cded889dc5a13418c4bc2abbda121092b3533a83306f90d900100a"},
        UNSTATED,
        "Huang, Ramesh, Berg and Learned-Miller 2007, Labeled Faces in the Wild",
        address="5976015",
    ),
}  # fmt: skip
BY_HAND = {
    "celeba": "celeba has no address that a program may rely on: download img_align_celeba.zip from "
    "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html and give its path"
}


def published_folder(name: str) -> Path:
    """The folder in the cache that holds the files of this set, downloaded if they are not there or broken.

    Raises UserError if one cannot be had: what it needs, and where to put it by hand.
    """
    import pooch  # with requests, half a second to import
    import requests

    if name in BY_HAND:
        raise UserError(BY_HAND[name])
    wanted, folder = PUBLISHED[name], cache_folder() / "downloads" / name
    pooch.get_logger().setLevel("ERROR")
    urls = {file: wanted.base + (wanted.address or file) for file in wanted.files}
    store = pooch.Pooch(folder, wanted.base, wanted.files, urls, retry_if_failed=2)
    file, fresh = "", False
    try:
        with lock(folder / ".lock"):
            for file in wanted.files:
                fresh |= not (folder / file).exists()
                store.fetch(file, progressbar=sys.stderr.isatty())
            if name == "cifar10" and not all((folder / batch).exists() for batch in BATCHES):
                unpack(folder / file, folder, BATCHES)
    except (requests.RequestException, ValueError) as error:
        response = getattr(error, "response", None)
        why = (
            "the connection failed"
            if isinstance(error, requests.RequestException)
            else "its checksum is wrong"
        )
        why = why if response is None else f"the server says {response.status_code}"
        raise PassingTrouble(
            f"{name} needs {urls.get(file)}: {why}; download it by hand to {folder / file} and try again"
        ) from None
    except OSError as error:
        raise PassingTrouble(
            f"cannot write {folder}: {error.strerror or error}; GAN_REF_CACHE moves it"
        ) from None
    if fresh:
        print(f"{name}: {wanted.licence}; cite {wanted.citation}", file=sys.stderr)
    return folder


def unpack(archive: Path, folder: Path, names: list[str]) -> None:
    """Write the members that are called so, wherever they lie in the archive, to ``folder``."""
    for name, _, content in members(
        archive, lambda name, member: member.isreg() and name.split("/")[-1] in names
    ):
        if content:
            with write_atomically(folder / name.split("/")[-1]) as part:
                part.write_bytes(content)


def published_archive(name: str, options: Options) -> Dataset | None:
    """flowers102 and lfw, of which all images are for training. lfw's folders are people, and no labels.

    The flowers' labels are in a file of their own, 1 to 102: that of jpg/image_00001.jpg is the first.
    """

    def load(path: Path) -> dict[str, int]:
        labels = dict(variables(path.read_bytes()))["labels"].reshape(-1).astype(int).tolist()
        return {f"image_{k:05}": label for k, label in enumerate(labels, 1)}

    folder = published_folder(name)
    if options.split != "train":
        return None
    archive, *labels = (folder / file for file in PUBLISHED[name].files)
    known = read_untrusted(labels[0], load, "the labels of flowers102") if labels else {}
    opened = stream_dataset(folder, options, [archive], known)
    return replace(opened, name=name, **({} if known else {"labels": None, "classes": ()}))
