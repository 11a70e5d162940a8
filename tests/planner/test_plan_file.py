"""Plan files: what people write, checked at the door."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.commands.shared import parse_override
from planner.money.cashflow import cash_flow
from planner.plan import make_plan
from planner.plan_file import parse_plan_request, plan_request, read_plan_request
from profiler.files import InputError

EXAMPLES = Path(__file__).parents[2] / "examples"
LEAST = 'model = "llama3.1-8b"\ntokens = "15T"\n'
PHASES = (
    LEAST
    + """
[[phases]]
name = "a"
tokens = "5T"
seq_len = 4096
global_batch = 1024
[[phases]]
name = "b"
tokens = "10T"
seq_len = 8192
global_batch = 1024
"""
)


@pytest.mark.parametrize(
    ("name", "tokens", "gpus"), [("8b", 15e12, 1024), ("70b", 15e12, 4096), ("405b", 15.6e12, 16_384)]
)
def test_the_examples_read(name: str, tokens: float, gpus: int) -> None:
    request = read_plan_request(EXAMPLES / f"llama3.1-{name}.toml")
    assert (request.model, request.tokens, request.cluster.gpus) == (f"llama3.1-{name}", tokens, gpus)


def test_the_405b_example_is_the_published_schedule() -> None:
    """arXiv:2407.21783 section 3.4.1: 4 M tokens at 4,096 until 252 M, 8 M at 8,192 until 2.87 T, then 16 M; table 4:
    TP 8, PP 16; section 3.4.2: about 800 B tokens in six stages up to 128 k."""
    request = read_plan_request(EXAMPLES / "llama3.1-405b.toml")
    first, second, main = request.phases[:3]
    assert (first.tokens, first.seq_len, first.seq_len * first.global_batch) == (252e6, 4096, 4 * 2**20)
    assert first.tokens + second.tokens == pytest.approx(2.87e12)
    assert second.seq_len == 8192
    assert second.seq_len * second.global_batch == 8 * 2**20
    assert (main.seq_len, main.seq_len * main.global_batch) == (8192, 16 * 2**20)
    longer = [p for p in request.phases if p.seq_len > 8192 and p.name != "annealing"]
    assert len(longer) == 6
    assert sum(p.tokens for p in longer) == pytest.approx(800e9, rel=0.01)
    assert longer[-1].seq_len == 131_072
    layout = request.training.layout
    assert layout is not None
    assert (layout.tp, layout.pp) == (8, 16)


def test_defaults_are_what_is_said_to_be_assumed() -> None:
    request = parse_plan_request(LEAST, source="x")
    assert (request.money.mode, request.site.grid, request.training.precision) == ("rent", "USA", "bf16")
    assert request.training.layout is None


@given(st.floats(1e9, 1e15))
def test_another_number_of_tokens_stretches_the_phases(tokens: float) -> None:
    request = parse_plan_request(PHASES, [("tokens", tokens)], source="x")
    assert [p.tokens for p in request.phases] == pytest.approx([tokens / 3, tokens * 2 / 3])


def test_overrides_lie_over_the_file_and_leave_it_alone() -> None:
    data = {"model": "llama3.1-8b", "tokens": "1T", "cluster": {"gpus": 8}}
    changed = plan_request(data, [("cluster.gpus", 16), ("site.pue", 1.5)], source="x")
    assert (changed.cluster.gpus, changed.site.pue) == (16, 1.5)
    assert data["cluster"] == {"gpus": 8}


def test_another_gpu_leaves_the_node_of_the_first_behind() -> None:
    """As in `goal`: what is given with it holds, and the same GPU again changes nothing."""
    cluster = {"gpu": "h100-sxm", "gpus": 64, "node": "grand-teton", "fabric": "400g-roce", "profile": "mine.json"}
    data = {"model": "llama3.1-8b", "tokens": 1e12, "cluster": cluster}

    def asked(*overrides: tuple[str, object]) -> tuple[str, str, str, str, int]:
        c = plan_request(data, overrides, source="here").cluster
        return c.gpu, c.node, c.fabric, c.profile, c.gpus

    assert asked(("cluster.gpu", "b200-sxm")) == ("b200-sxm", "", "", "", 64)
    given = asked(("cluster.fabric", "800g"), ("cluster.gpu", "b200-sxm"))
    assert given == ("b200-sxm", "", "800g", "", 64)
    assert (
        asked(("cluster.gpu", "h100-sxm"))
        == asked()
        == tuple(cluster[k] for k in ("gpu", "node", "fabric", "profile", "gpus"))
    )


def test_another_gpu_stays_in_a_node_that_holds_it_and_leaves_it_for_one_that_is_given() -> None:
    """An H200 fits where an H100 does, with the network of that node; a fabric of the file's node, which may be gone,
    is not that of another one."""

    def asked(node: str, *overrides: tuple[str, object]) -> tuple[str, str]:
        cluster = {"gpu": "h100-sxm", "gpus": 64, "node": node, "fabric": "100g-node", "profile": "mine.json"}
        data = {"model": "llama3.1-8b", "tokens": 1e12, "cluster": cluster}
        found = plan_request(data, [("cluster.gpu", "h200-sxm"), *overrides], source="here").cluster
        assert found.profile == ""
        return found.node, found.fabric

    assert asked("hgx-h100") == ("hgx-h100", "100g-node")
    for node in ("hgx-h100", "gone.toml"):
        assert asked(node, ("cluster.node", "hgx-h100-water")) == ("hgx-h100-water", "")


@pytest.mark.parametrize(
    ("text", "pair"),
    [
        ("cluster.gpus=8192", ("cluster.gpus", 8192)),
        ("site.grid=gcp:us-central1", ("site.grid", "gcp:us-central1")),
        ("tokens=15.6T", ("tokens", "15.6T")),
        ('name="a = b"', ("name", "a = b")),
        ("training.layout={ tp = 8 }", ("training.layout", {"tp": 8})),
    ],
)
def test_overrides_as_typed(text: str, pair: tuple[str, object]) -> None:
    assert parse_override(text) == pair


WRONG = [
    ("tokens = 1", "key 'model' is missing"),
    ('model = "m"', "key 'tokens' is missing"),
    (LEAST + "tokns = 1", "key 'tokns' is not known"),
    (LEAST + "[cluster]\ngpu_count = 8", "key 'cluster.gpu_count' is not known"),
    (LEAST + "[cluster]\ngpus = 0", "key 'cluster.gpus' is 0"),
    (LEAST + '[cluster]\ngpus = "all"', "key 'cluster.gpus' is 'all'"),
    (LEAST + "[money]\nprice_usd_per_gpu_hour = -2.0", "key 'money.price_usd_per_gpu_hour' is -2.0"),
    (LEAST + "[site]\npue = nan", "key 'site.pue' is nan"),
    (LEAST + "[site]\npue = inf", "key 'site.pue' is inf"),
    (LEAST + "[site]\npue = 0.9", "key 'site.pue' is 0.9"),
    (LEAST + '[money]\nmode = "steal"', "'rent', 'own' or 'mixed'"),
    (LEAST + '[training]\nprecision = "fp4"', "key 'training.precision' is 'fp4'"),
    (LEAST + "[stated]\neffective_time_ratio = 1.1", "key 'stated.effective_time_ratio' is 1.1"),
    (PHASES.replace("5T", "6T").replace("16T", "15T"), "the phases hold 1.6e+13 tokens"),
    (PHASES.replace("seq_len = 4096\n", ""), "key 'phases.0.seq_len' is missing"),
    (LEAST + "[cluster]\ngpus = true", "key 'cluster.gpus' is true; a number is needed"),
    (LEAST + "[site]\npue = true", "key 'site.pue' is true; a number is needed"),
    (PHASES.replace("seq_len = 8192", "seq_len = true"), "key 'phases.1.seq_len' is true; a number is needed"),
    (LEAST + "money = 5", "key 'money' is 5; a table is needed, such as [money]"),
    (LEAST + "[training]\nlayout = 5", "key 'training.layout' is 5; a table is needed, such as [training.layout]"),
    (LEAST + "phases = [5]", "key 'phases.0' is 5; a table is needed, such as [[phases]]"),
    (LEAST + "phases = 5", "key 'phases' is 5; a list is needed"),
    (LEAST + "[money]\npreparation_days = 1e9", "key 'money.preparation_days' is 1000000000.0; input should be "),
    (LEAST + '[money]\nidle_days = "300k weeks"', "than or equal to 1826"),
    (LEAST + 'start = "0001-01-01"', "key 'start' is '0001-01-01'; a year from 1970 to 2999 is needed"),
    (LEAST + "start = 9998-12-31", "key 'start' is '9998-12-31'; a year from 1970 to 2999 is needed"),
    (LEAST + 'start = "soon"', "key 'start' is 'soon'; a date such as 2026-01-05 is needed"),
    (
        LEAST + "[site]\nelectricity_usd_per_kwh = 80",
        "at most 10 USD per kWh is possible. If 80 USD per MWh are meant",
    ),
    (LEAST + '[site]\nelectricity_usd_per_kwh = "80 USD/kWh"', "that is 0.08 USD per kWh"),
    (LEAST + "[money]\nprice_usd_per_gpu_hour = 1e300", "less than or equal to 10000"),
    (LEAST + "[money]\nserver_usd_per_gpu = 1e300", "less than or equal to 100000000"),
    (
        LEAST + "[money]\nstorage_tb = 1e300",
        "key 'money.storage_tb' is 1e+300; input should be less than or equal to",
    ),
    (LEAST + "[money]\negress_tb = 1e300", "key 'money.egress_tb' is 1e+300; input should be less than or equal to"),
    (LEAST + "[money]\noperators = 1e300", "key 'money.operators' is 1e+300; input should be less than or equal to"),
    (LEAST + "[cluster]\nspare_nodes = 1e9", "key 'cluster.spare_nodes' is 1000000000.0; input should be less than"),
    (LEAST + "[site]\nclean_share = 40", "at most 1 is possible; write 40 % as '40 %' or 0.4."),
    (LEAST + "[money]\nresale_share = 120", "key 'money.resale_share' is 120; at most 1 is possible; write 40 % as"),
    (LEAST + '[stated]\neffective_time_ratio = "120 %"', "at most 1 is possible; write 40 % as '40 %' or 0.4."),
    (LEAST + "[reliability]\nstorage_share = 50", "at most 1 is possible; write 50 % as '50 %' or 0.5."),
    (LEAST + "[site]\nclean_share = -0.1", "key 'site.clean_share' is -0.1; input should be greater than or equal"),
    (LEAST + "[cluster\n", "not readable as TOML"),
    (LEAST + "seed = " + "9" * 5000, "not readable as TOML"),
    ('model = "m"\ntokens = ' + "1" + "0" * 400, "key 'tokens' is 1000"),
]


@pytest.mark.parametrize(("text", "says"), WRONG)
def test_a_plan_that_cannot_be_is_one_sentence(text: str, says: str) -> None:
    with pytest.raises(InputError) as error:
        parse_plan_request(text, source="plan.toml")
    assert says in str(error.value)
    assert str(error.value).startswith("plan.toml: ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("written", "start"),
    [
        ("2028-02-29", "2028-02-29"),
        ('"2028-02-29"', "2028-02-29"),
        ("2028-02-29T00:00:00", "2028-02-29"),
        ("2028-02-29 06:00:00", "2028-02-29T06:00:00"),
    ],
)
def test_a_date_is_the_same_with_and_without_quotes(written: str, start: str) -> None:
    assert parse_plan_request(f"{LEAST}start = {written}", source="x").start == start
    assert parse_plan_request(LEAST, [parse_override(f"start={written}")], source="x").start == start


def test_the_dates_of_a_power_window_need_no_quotes() -> None:
    text = LEAST + "[[site.power_windows]]\nallowed_w = 1e6\nfirst_date = 2028-02-29\nlast_date = 2028-03-31\n"
    [window] = parse_plan_request(text, source="x").site.power_windows
    assert (window.first_date, window.last_date) == ("2028-02-29", "2028-03-31")


@pytest.mark.parametrize("start", ["1970-01-01", "2999-12-31"])
def test_what_is_allowed_of_first_days_and_standing_days_has_room_on_the_calendar(start: str) -> None:
    money = {"mode": "own", "preparation_days": 1826, "idle_days": 1826}
    data = {"model": "llama3.1-8b", "tokens": "100B", "start": start, "cluster": {"gpus": 64}, "money": money}
    plan = make_plan(plan_request(data, source="x"))
    flow = cash_flow(plan)
    assert flow.total_usd == pytest.approx(plan.cost.expected)
    paid = {int(month[:4]) for month in flow.payments_usd}
    assert max(paid) - min(paid) >= 10


def test_a_price_of_a_mwh_with_its_unit_is_one_of_a_kwh() -> None:
    text = LEAST + '[site]\nelectricity_usd_per_kwh = "80 USD/MWh"'
    assert parse_plan_request(text, source="x").site.electricity_usd_per_kwh == pytest.approx(0.08)
    dearest = parse_plan_request(LEAST + "[site]\nelectricity_usd_per_kwh = 10", source="x")
    assert dearest.site.electricity_usd_per_kwh == 10


def test_what_is_a_flag_may_be_true() -> None:
    request = parse_plan_request(LEAST + "[money]\nresearch_staff = true", source="x")
    assert request.money.research_staff is True


KEYS = ["model", "tokens", "name", "seed", "cluster", "cluster.gpus", "training.layout", "training.layout.tp",
        "phases", "phases.0", "site.pue", "money", "stated.tflops_per_gpu", "start", "", ".", "a.b.c"]  # fmt: skip
values = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
anything = st.recursive(
    values, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2)
)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(KEYS), anything), max_size=3))
def test_whatever_is_set_is_a_plan_or_one_refusal(overrides: list[tuple[str, object]]) -> None:
    try:
        parse_plan_request(PHASES, overrides, source="x")
    except InputError as error:
        assert str(error)  # noqa: PT017 - either outcome is right, a third is not
