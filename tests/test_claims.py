"""The ledger's verdicts follow from its numbers, and its page from its JSON."""

import json
import re
import shlex

import pytest
from PIL import Image

from benchmarks.claims import page, points, scores, tips
from benchmarks.claims.arms import Function, Train, summarise
from benchmarks.claims.claim import (
    DIRECTION,
    NOT,
    NOT_TRIED,
    REPRODUCED,
    Claim,
    Results,
    clearly_less,
    less,
    within,
)
from benchmarks.claims.ledger import Ledger, groups

CLAIMS = [claim for module in groups().values() for claim in module.CLAIMS]
with_name = pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.name)


def results(**arms: list[float]) -> Results:
    return Results({name: [{"frechet": value} for value in values] for name, values in arms.items()})


def test_less_by_two_standard_errors_is_reproduced_and_less_by_less_is_a_direction():
    arms = {name: Function(name, lambda seed: {}) for name in ("on", "off")}
    claim = Claim("", "", "", arms, clearly_less("on", "off", "frechet"), less("on", "off", "frechet"))
    assert claim.verdict(results(on=[1, 2, 3], off=[4, 5, 6])) == REPRODUCED  # 3 apart, error √(2/3)
    assert claim.verdict(results(on=[1, 2, 3], off=[2, 3, 4])) == DIRECTION  # 1 apart
    assert claim.verdict(results(on=[1, 2, 3], off=[1, 2, 3])) == NOT
    assert claim.verdict(results(on=[1], off=[100])) == DIRECTION  # one seed has no standard error
    assert claim.verdict(results(on=[1, 2, 3], off=[])) == NOT_TRIED


def test_a_number_that_is_missing_never_reproduces_a_claim():
    lost = Results({"on": [{"failure": "it diverged"}], "off": [{"frechet": 3.0}]})
    rules = less("on", "off", "frechet"), less("off", "on", "frechet"), within("on", "frechet")
    assert not any(rule.holds(lost) for rule in rules)


def test_both_rules_must_hold():
    rule = within("on", "frechet", low=1) & within("off", "frechet", high=2)
    assert rule.holds(results(on=[1.5], off=[1.5]))
    assert not rule.holds(results(on=[0.5], off=[1.5])) and not rule.holds(results(on=[1.5], off=[2.5]))
    assert rule.words == "Fréchet distance: 1.0 ≤ *on*; Fréchet distance: *off* ≤ 2.0"


@with_name
def test_a_wrong_number_changes_the_verdict(claim):
    """Every verdict rests on its numbers: without one arm's, or with NaN for all, it is another."""
    ledger = Ledger()
    found = ledger.results(claim)
    verdict = claim.verdict(found)
    nothing = Results({name: [] for name in claim.arms})
    assert claim.verdict(nothing) == NOT_TRIED
    if verdict in (REPRODUCED, DIRECTION):
        wrong = [
            {arm: seeds if arm != other else [{}] for arm, seeds in found.arms.items()}
            for other in found.arms
        ]
        assert all(claim.verdict(Results({arm: [{}] for arm in found.arms})) == NOT for _ in wrong[:1])
        assert any(claim.verdict(Results(arms)) != verdict for arms in wrong)


@with_name
def test_a_claim_says_all_that_a_reader_needs(claim):
    assert claim.source and claim.says.endswith(".") and claim.name == claim.name.lower()
    assert claim.arms or claim.needs


def test_names_are_unique_and_a_key_has_one_meaning():
    assert len({claim.name for claim in CLAIMS}) == len(CLAIMS)
    arms = {arm for claim in CLAIMS for arm in claim.arms.values() if isinstance(arm, Train)}
    assert len({arm.trial(0, page.DOCS).folder for arm in arms}) == len({arm.key for arm in arms})


def test_the_page_is_what_the_json_generates():
    text = (page.DOCS / "claims.md").read_text(encoding="utf-8")
    assert text == page.render(Ledger())
    counted = next(line for line in text.splitlines() if re.match(r"\d+ claims: ", line))
    assert counted in " ".join((page.DOCS.parent / "README.md").read_text(encoding="utf-8").split())


@with_name
def test_a_folded_command_has_the_same_words_and_no_flag_without_its_value(claim):
    for arm in claim.arms.values():
        folded = page.fold(arm.command)
        assert shlex.split(folded.replace("\\\n", "")) == shlex.split(arm.command)
        assert not re.search(r"--\S+ \\\n +[^ -]", folded)


def test_what_is_measured_is_kept_and_not_measured_again(tmp_path):
    asked = []
    arm = Function("counted", lambda seed: asked.append(seed) or {"frechet": float(seed)})
    claim = Claim("", "", "", {"arm": arm}, within("arm", "frechet", high=1))
    for _ in range(2):
        ledger = Ledger(tmp_path)
        for seed in range(2):
            ledger.measure("scores", [claim], seed, tmp_path, jobs=1)
    assert asked == [0, 1]
    assert ledger.results(claim)("arm", "frechet") == 0.5
    assert list(json.loads((tmp_path / "scores.json").read_text())["counted"]["seeds"]) == ["0", "1"]


@pytest.mark.full
def test_a_run_that_diverged_is_a_result_and_one_that_was_refused_is_tried_again(tmp_path):
    base = "--data ring8 --device cpu --threads 1 --steps 200 --log-every 50 --width 8"
    wild = Train("dcgan", f"{base} --objective LeastSquares --optimizer sgd --lr-g 10 --lr-d 10", 0.1)
    wrong = Train("dcgan", f"{base} --objective NoSuch", 0.1)
    claim = Claim("", "", "", {"wild": wild, "wrong": wrong}, within("wild", "modes"))
    ledger = Ledger(tmp_path)
    ledger.measure("points", [claim], 0, tmp_path, jobs=2)
    assert "NaN" in ledger.seeds(wild)["0"]["failure"]
    assert ledger.missing(claim, 0) == [wrong] and not wrong.trial(0, tmp_path).failure.exists()


def test_ranks_are_correlated_over_the_recipes_of_each_seed():
    file = {}
    for k, run in enumerate(scores.RUNS.values()):
        alike, opposed = ({"inception": k**3, "frechet": sign * k} for sign in (-1.0, 1.0))
        file[run.key] = {"seeds": {"10": opposed, "2": alike, "3": {"failure": "NaN"} if k == 0 else alike}}
    file[run.key]["seeds"]["11"] = alike  # a seed that the others lack
    found = [seed["rank correlation"] for seed in scores.rank_correlations(file)]
    assert found == pytest.approx([1, 1, -1])
    assert scores.rank_correlations({}) == []


def test_a_runs_numbers_are_means_over_its_last_fifth():
    rows = [
        {"step": 10 * k, "d_loss": float(k), "g_loss": 1.0, "images_per_second": 9.0} for k in range(1, 11)
    ]
    rows[4]["test_error"] = 0.5
    rows[8]["test_error"] = 0.25
    found = summarise(rows)
    assert (found["d_loss"], found["g_loss_swing"], found["test_error"]) == (9.5, 0.0, 0.25)


@pytest.mark.parametrize("group", [points, tips], ids=lambda group: group.PICTURE)
def test_a_picture_is_drawn_from_the_numbers(tmp_path, group):
    """That of the scores has disturbed faces in it, and a judge that takes minutes to train."""
    group.draw(Ledger(tmp_path), path := tmp_path / group.PICTURE)
    assert not path.exists()  # without numbers there is nothing to draw
    group.draw(Ledger(), path)
    with Image.open(path) as picture:
        assert min(picture.size) > 300 and len(set(picture.convert("L").tobytes())) > 50


def test_what_papers_print_stands_beside_an_arm_that_exists():
    arms = {claim.name: claim.arms for claim in points.CLAIMS}
    assert all(arm in arms[name] for name, arm in points.PUBLISHED)
