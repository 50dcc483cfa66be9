"""What upstream has and what is to be done about it, on the days of a year as they were."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest

from isobuilder.demo.content import fill
from isobuilder.formats.kube import KubeVersion
from isobuilder.formats.version import ReleaseVersion
from isobuilder.model.config import Config
from isobuilder.model.loading import builtin_recipes, load_recipe
from isobuilder.pipeline.upstream.seen import Seen
from isobuilder.rules.book import RuleBook, shipped_rules
from isobuilder.rules.fit import Parts
from isobuilder.sources.session import Session, open_session
from isobuilder.sources.upstream.choose import Chooser
from isobuilder.sources.upstream.look import look
from isobuilder.sources.upstream.notices import CheckPolicy, Held, Notice, compare, followed
from isobuilder.sources.upstream.sight import Sight
from isobuilder.sources.upstream.whole import missing
from isobuilder.store import Store
from tests.fakes.held import held_recipes
from tests.fakes.timeline import Timeline, released
from tests.fakes.upstream import FakeUpstream


class Travel:
    """Looks at upstream day by day, as somebody would who follows everything."""

    def __init__(self, timeline: Timeline, session: Session) -> None:
        self.timeline = timeline
        self.session = session
        self.seen = Seen()

    def sight(self, day: date) -> Sight:
        self.timeline.day = day
        minors = {one.line_text for one in released(day) if one.is_final}
        return look(self.session, day, minors=sorted(minors))

    def held(self, day: date) -> tuple[Held, ...]:
        """Return recipes of the newest patch of each minor on ``day``, with what fitted then."""
        return tuple(held_recipes(self.sight(day)))

    def news(self, day: str, *, hold: int = 0, back: int = 1) -> list[Notice]:
        """Return what is noticed on a day by who last looked ``back`` days before."""
        today = date.fromisoformat(day)
        yesterday = today - timedelta(days=back)
        held = self.held(yesterday)
        self.seen = self.seen.after(self.sight(yesterday))
        sight = self.sight(today)
        return compare(sight, held, shipped_rules(), self.seen.before, CheckPolicy(hold))


@pytest.fixture
def travel(tmp_path: Path) -> Iterator[Travel]:
    with Timeline("2025-11-01") as timeline:
        config = Config(mirrors=timeline.mirrors, retries=0)
        with open_session(config, Store(tmp_path / "store")) as session:
            yield Travel(timeline, session)


def new(notices: list[Notice], level: str = "todo") -> list[str]:
    """Return the new versions of Kubernetes among notices of a level."""
    kinds = {"new-patch", "new-minor"}
    return sorted(one.subject for one in notices if one.kind in kinds and one.level == level)


def told(notices: list[Notice], kind: str) -> list[Notice]:
    return [one for one in notices if one.kind == kind]


# --- Kubernetes, story by story ---

TRAINS = [
    ("2025-11-12", ["1.31.14", "1.32.10", "1.33.6", "1.34.2"]),
    ("2025-12-10", ["1.33.7", "1.34.3"]),
    ("2025-12-17", ["1.32.11", "1.35.0"]),
    ("2026-02-10", ["1.32.12", "1.33.8", "1.34.4", "1.35.1"]),
    ("2026-02-27", ["1.32.13", "1.33.9", "1.34.5", "1.35.2"]),
    ("2026-03-19", ["1.33.10", "1.34.6", "1.35.3"]),
    ("2026-04-16", ["1.33.11", "1.34.7", "1.35.4"]),
    ("2026-04-22", ["1.36.0"]),
    ("2026-05-12", ["1.33.12", "1.34.8", "1.35.5", "1.36.1"]),
    ("2026-06-12", ["1.33.13", "1.34.9", "1.35.6", "1.36.2"]),
    ("2026-07-22", ["1.34.10", "1.35.7"]),
    ("2026-07-23", ["1.36.3"]),
    ("2026-08-20", ["1.34.11", "1.35.8", "1.36.4"]),
    ("2026-08-26", ["1.37.0"]),
    ("2026-09-23", ["1.34.12", "1.35.9", "1.36.5", "1.37.1"]),
]
QUIET = [
    "2025-11-01",  # a whole train was left out
    "2025-11-11",  # tags are dated today, and nobody can see them
    "2026-01-13",  # three announced days pass
    "2026-01-28",
    "2026-03-11",  # the schedule says released, no marker does
    "2026-03-18",
    "2026-06-11",
    "2026-06-29",
    "2026-09-15",
    "2026-09-17",
    "2026-09-24",  # a pre-release is dated today
    "2026-09-29",  # and published
    "2026-10-07",
    "2026-10-20",
    "2026-11-25",
]


@pytest.mark.parametrize(("day", "versions"), TRAINS)
def test_what_came_out_that_day_is_to_be_built(
    travel: Travel, day: str, versions: list[str]
) -> None:
    ended = {
        version
        for version in versions
        if (life := shipped_rules().minor(ReleaseVersion(version).line_text))
        and life.ended(date.fromisoformat(day))
    }
    notices = travel.news(day)
    assert new(notices) == sorted(set(versions) - ended)
    assert set(new(notices, "notice")) == ended


@pytest.mark.parametrize("day", QUIET)
def test_on_a_day_without_a_release_nothing_is_proposed(travel: Travel, day: str) -> None:
    notices = travel.news(day)
    assert [new(notices, level) for level in ("todo", "wait", "notice")] == [[], [], []]


def test_a_patch_that_moves_etcd_says_so(travel: Travel) -> None:
    facts_of = {one.subject: one.fact for one in travel.news("2025-11-12")}
    assert "etcd moves from 3.6.4-0 to 3.6.5-0" in facts_of["1.34.2"]
    assert "etcd moves from 3.5.21-0 to 3.5.24-0" in facts_of["1.33.6"]
    assert "CoreDNS" not in facts_of["1.33.6"]


def test_four_patches_that_nobody_wrote_down_are_told_so(travel: Travel) -> None:
    notices = travel.news("2026-10-29", back=3)
    assert new(notices) == ["1.35.10", "1.36.6", "1.37.2"]
    for version in ("1.35.10", "1.36.6"):
        (one,) = [one for one in notices if one.subject == version]
        assert "ask that kubeadm" in one.fact


def test_the_last_patch_of_an_ended_minor_is_told_and_wanted_only_by_who_says_so(
    travel: Travel,
) -> None:
    notices = travel.news("2026-10-29", back=3)
    assert new(notices, "notice") == ["1.34.13"]
    (ended,) = [one for one in told(notices, "end-of-life") if one.subject == "1.34"]
    assert ended.level == "warning"
    assert "upgrade to 1.35" in ended.hint


@pytest.mark.parametrize(
    ("day", "kind"), [("2026-08-27", None), ("2026-08-29", "end-near"), ("2026-10-27", "end-near")]
)
def test_an_end_is_told_before_it_comes(travel: Travel, day: str, kind: str | None) -> None:
    found = {one.kind for one in travel.news(day) if one.subject == "1.34"}
    assert (kind in found) if kind else not found & {"end-near", "end-of-life"}


def test_hold_days_are_counted_from_the_first_sight(travel: Travel) -> None:
    assert new(travel.news("2026-02-10", hold=2), "wait") == [
        "1.32.12",
        "1.33.8",
        "1.34.4",
        "1.35.1",
    ]
    travel.seen = travel.seen.after(travel.sight(date(2026, 2, 10)))
    held = travel.held(date(2026, 2, 9))
    for day, level in ((11, "wait"), (12, "todo")):
        sight = travel.sight(date(2026, 2, day))
        notices = compare(sight, held, shipped_rules(), travel.seen.before, CheckPolicy(2))
        assert len(new(notices, level)) == 4


def test_who_looks_for_the_first_time_does_not_wait_for_what_was_tagged_long_ago(
    travel: Travel,
) -> None:
    held = travel.held(date(2026, 9, 1))
    sight = travel.sight(date(2026, 11, 28))
    notices = compare(sight, held, shipped_rules(), Seen().before, CheckPolicy(3))
    assert "1.37.2" in new(notices)
    assert "tagged on 2026-10-27" in next(one.fact for one in notices if one.subject == "1.37.2")


def test_a_half_visible_train_is_judged_one_by_one(travel: Travel) -> None:
    travel.timeline.faults["/dl/release/stable-1.36.txt"] = (200, {}, b"v1.36.0\n")
    notices = travel.news("2026-05-12")
    assert new(notices) == ["1.33.12", "1.34.8", "1.35.5"]
    (tagged,) = told(notices, "tagged")
    assert (tagged.level, tagged.subject) == ("wait", "1.36.1")
    assert "its marker still names 1.36.0" in tagged.fact


def test_a_schedule_that_is_ahead_is_told_and_not_believed(travel: Travel) -> None:
    ahead = told(travel.news("2026-03-11"), "schedule-ahead")
    assert {one.subject for one in ahead} == {"1.35.3", "1.34.6", "1.33.10"}
    assert {one.level for one in ahead} == {"notice"}


def test_what_is_late_is_told_once(travel: Travel) -> None:
    late = [one.subject for one in told(travel.news("2026-04-15"), "late")]
    assert late == ["1.35.4", "1.34.7", "1.33.11"]
    sight = travel.sight(date(2026, 4, 15))
    travel.seen = travel.seen.after(sight)
    again = compare(sight, (), shipped_rules(), travel.seen.before, CheckPolicy())
    assert [one.subject for one in told(again, "late")] == late  # nobody was told yet
    travel.seen = travel.seen.with_told(sight)
    again = compare(sight, (), shipped_rules(), travel.seen.before, CheckPolicy())
    assert not told(again, "late")


# --- components ---


def test_components_are_followed_in_their_line_and_newer_lines_only_where_needed(
    travel: Travel,
) -> None:
    held = (
        Held(
            "base",
            Parts(
                KubeVersion("1.36.5"),
                {"containerd": ReleaseVersion("2.2.3"), "etcd": ReleaseVersion("3.6.8")},
                pins_pause=True,
            ),
        ),
    )

    def taken(day: str) -> list[str]:
        sight = travel.sight(date.fromisoformat(day))
        notices = compare(sight, held, shipped_rules(), Seen().before, CheckPolicy(0))
        return [one.fact for one in told(notices, "component")]

    assert any("could be 2.2.9" in fact for fact in taken("2026-09-30"))
    assert any("could be 2.3.7" in fact and "2028-04-30" in fact for fact in taken("2026-11-07"))
    assert not any("etcd" in fact for fact in taken("2026-11-07"))  # 3.7 is not what kubeadm pairs


def test_a_containerd_that_cannot_start_pods_is_never_chosen(travel: Travel) -> None:
    for day in ("2026-06-04", "2026-07-10", "2026-08-11"):
        sight = travel.sight(date.fromisoformat(day))
        chooser = Chooser(KubeVersion("1.36.2"), sight, shipped_rules(), 0)
        choice = chooser.choose("containerd", ReleaseVersion("2.3.1"))
        assert choice.version is not None
        assert choice.version.line_text != "2.3"
    chooser = Chooser(KubeVersion("1.37.0"), travel.sight(date(2026, 8, 26)), shipped_rules(), 0)
    choice = chooser.choose("containerd", ReleaseVersion("2.2.3"))
    assert str(choice.version) == "2.3.4"
    assert "older than 1.37 needs" in choice.reason


def test_crictl_of_a_new_minor_comes_later_and_the_one_before_stands_in(travel: Travel) -> None:
    def crictl(day: date) -> tuple[str, str]:
        chooser = Chooser(KubeVersion("1.37.0"), travel.sight(day), shipped_rules(), 0)
        choice = chooser.choose("crictl", ReleaseVersion("1.36.0"))
        return str(choice.version), choice.reason

    assert crictl(date(2026, 8, 26)) == ("1.36.0", "none for 1.37 is out yet")
    assert crictl(date(2026, 9, 1)) == ("1.37.0", "of the same minor, 1.37")


def test_etcd_of_a_kubeadm_that_nobody_read_is_not_guessed(travel: Travel) -> None:
    chooser = Chooser(KubeVersion("1.36.6"), travel.sight(date(2026, 11, 28)), shipped_rules(), 0)
    choice = chooser.choose("etcd", ReleaseVersion("3.6.8"))
    assert choice.version is None
    assert "ask that kubeadm" in choice.reason


def test_a_file_that_is_replaced_after_its_release_is_for_a_person_to_decide(
    travel: Travel,
) -> None:
    name = "containerd-2.3.4-linux-amd64.tar.gz"
    travel.seen = travel.seen.after(travel.sight(date(2026, 9, 1)))
    old = travel.seen.digests[f"containerd 2.3.4 {name}"]
    travel.timeline.digests[name] = "ab" * 32
    (one,) = told(travel.news("2026-09-03"), "replaced")
    assert one.level == "todo"
    assert old in one.fact
    assert "ab" * 32 in one.fact
    travel.seen = travel.seen.after(travel.sight(date(2026, 9, 3)))
    assert told(travel.news("2026-09-04"), "replaced")  # and stays one until somebody did


def test_a_file_that_is_not_what_was_locked_is_told_at_the_first_look(travel: Travel) -> None:
    name = "runc.amd64"
    digests = {("runc", name): f"sha256:{'cd' * 32}"}
    parts = Parts(KubeVersion("1.37.1"), {"runc": ReleaseVersion("1.4.3")}, pins_pause=True)
    sight = travel.sight(date(2026, 10, 1))
    notices = compare(
        sight, (Held("mine.yaml", parts, digests),), shipped_rules(), Seen().before, CheckPolicy()
    )
    assert any("mine.yaml" in one.fact for one in told(notices, "replaced"))


def test_a_version_that_is_no_longer_among_releases_is_told(travel: Travel) -> None:
    parts = Parts(KubeVersion("1.37.1"), {"containerd": ReleaseVersion("2.2.99")}, pins_pause=True)
    sight = travel.sight(date(2026, 10, 1))
    notices = compare(
        sight, (Held("mine.yaml", parts),), shipped_rules(), Seen().before, CheckPolicy()
    )
    (one,) = told(notices, "withdrawn")
    assert one.fact == "containerd 2.2.99 is not among its releases"


# --- bad answers ---


@pytest.mark.parametrize(
    ("body", "fact"),
    [
        (b"<html>sign in</html>", "expected a version vX.Y.Z"),
        (b"", "expected a version vX.Y.Z"),
        (b"v1.36.5", "expected a version of 1.37, got 1.36.5"),
        (b"v1.37.2-rc.0", "expected a final version"),
        (b"v1.37.2\x1b[2J", "expected a version vX.Y.Z"),
        (b"v" * 1000, "longer than the 256 bytes"),
    ],
)
def test_a_marker_that_is_none_is_told_and_the_index_speaks_for_its_minor(
    travel: Travel, body: bytes, fact: str
) -> None:
    travel.timeline.faults["/dl/release/stable-1.37.txt"] = (200, {}, body)
    sight = travel.sight(date(2026, 10, 29))
    (trouble,) = [one for one in sight.troubles if one.source == "stable-1.37.txt"]
    assert fact in trouble.fact
    assert "\x1b" not in trouble.fact
    held = (Held("mine", Parts(KubeVersion("1.37.1"), {}, pins_pause=True)),)
    notices = compare(sight, held, shipped_rules(), Seen().before, CheckPolicy(0))
    assert new(notices) == ["1.37.2"]


def test_a_marker_that_goes_back_stops_its_minor_only(travel: Travel) -> None:
    travel.seen = travel.seen.after(travel.sight(date(2026, 10, 28)))
    travel.timeline.faults["/dl/release/stable-1.37.txt"] = (200, {}, b"v1.37.1")
    held = tuple(
        Held(text, Parts(KubeVersion(text), {}, pins_pause=True)) for text in ("1.37.0", "1.36.5")
    )
    sight = travel.sight(date(2026, 10, 30))
    notices = compare(sight, held, shipped_rules(), travel.seen.before, CheckPolicy(0))
    assert new(notices) == ["1.36.6"]
    (back,) = told(notices, "marker-back")
    assert (back.level, back.subject) == ("warning", "1.37")
    assert back.hint.endswith('take "1.37" out of markers in upstream/seen.json of the store')


@pytest.mark.parametrize("status", [403, 429])
def test_where_githubs_limit_is_spent_it_is_said_and_the_rest_goes_on(
    travel: Travel, status: int
) -> None:
    path = "/gh/repos/containerd/containerd/releases?per_page=100"
    headers = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1793275200"}
    travel.timeline.faults[path] = (status, headers, b"{}")
    sight = travel.sight(date(2026, 10, 29))
    facts_of = [one.fact for one in sight.troubles if one.source == "containerd"]
    limit = "GitHub's limit of questions is spent; set GITHUB_TOKEN, or look again after 12:00 UTC"
    assert limit in facts_of
    assert "containerd" not in sight.components
    assert sight.components["runc"]
    assert str(sight.stable) == "1.37.2"


@pytest.mark.parametrize(
    "text",
    [
        "schedules:\n- release: 1.30\n- release: 1.30\n- {release: x}\n",
        "schedules:\n- release: '1.36'\n  next: {release: 1.36.9, targetDate: someday}\n",
        "schedules: []\n",
        "schedules:\n- release: 1.36\n  previousPatches: [{release: soon}, 3, null]\n",
    ],
)
def test_what_is_odd_about_a_schedule_is_told_with_its_place(travel: Travel, text: str) -> None:
    path = "/raw/kubernetes/website/main/data/releases/schedule.yaml"
    travel.timeline.faults[path] = (200, {}, text.encode())
    sight = travel.sight(date(2026, 10, 29))
    assert sight.schedule is not None
    assert sight.schedule.odd
    notices = compare(sight, (), shipped_rules(), Seen().before, CheckPolicy())
    assert told(notices, "schedule-odd")


def test_with_nothing_but_the_module_index_a_new_patch_is_still_seen(travel: Travel) -> None:
    for path in (
        "/dl/release/stable.txt",
        *(f"/dl/release/stable-1.{n}.txt" for n in range(30, 40)),
    ):
        travel.timeline.faults[path] = (503, {}, b"")
    sight = travel.sight(date(2026, 11, 28))
    assert sight.stable is None
    held = (Held("mine", Parts(KubeVersion("1.37.1"), {}, pins_pause=True)),)
    notices = compare(sight, held, shipped_rules(), Seen().before, CheckPolicy())
    assert new(notices) == ["1.37.2"]


def test_an_answer_that_has_not_changed_is_not_sent_again(travel: Travel) -> None:
    day = date(2026, 10, 29)
    first = travel.sight(day)
    before = travel.timeline.answered[200]
    assert travel.sight(day) == first
    assert travel.timeline.answered[200] == before
    assert travel.timeline.answered[304] > 10


def test_a_note_of_an_answer_that_is_damaged_is_asked_for_again(travel: Travel) -> None:
    day = date(2026, 10, 29)
    first = travel.sight(day)
    for note in (travel.session.store.root / "upstream").iterdir():
        head, _, body = note.read_bytes().partition(b"\n")
        assert body
        note.write_bytes(head + b"\n" + b"\0" * len(body))
    assert travel.sight(day) == first
    assert travel.timeline.answered[304] == 0


def test_a_token_that_has_ended_is_told_as_such_and_the_index_answers(travel: Travel) -> None:
    path = "/gh/repos/containerd/containerd/releases?per_page=100"
    travel.timeline.faults[path] = (401, {}, b'{"message": "Bad credentials"}')
    sight = travel.sight(date(2026, 10, 29))
    facts_of = [one.fact for one in sight.troubles if one.source == "containerd"]
    assert "GitHub does not know this GITHUB_TOKEN: it has ended, or was taken back" in facts_of
    assert sight.components["runc"]


@pytest.mark.parametrize("reset", ["", "soon", "9" * 40, "-1", "5869583999"])
def test_a_reset_that_is_no_time_is_an_hour(travel: Travel, reset: str) -> None:
    path = "/gh/repos/containerd/containerd/releases?per_page=100"
    headers = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": reset}
    travel.timeline.faults[path] = (403, headers, b"{}")
    troubles = travel.sight(date(2026, 10, 29)).troubles
    assert any(one.fact.endswith("look again in an hour") for one in troubles)


@pytest.mark.parametrize(("days", "way"), [(400, "ahead of"), (-3, "behind")])
def test_a_clock_that_is_not_upstreams_is_told(travel: Travel, days: int, way: str) -> None:
    sight = replace(travel.sight(date(2026, 11, 28)), clock_off=timedelta(days=days))
    (one,) = told(compare(sight, (), shipped_rules(), Seen().before, CheckPolicy()), "clock")
    assert one.fact == f"its clock is {abs(days)} days {way} upstream's"


def test_a_clock_that_is_behind_is_told(travel: Travel) -> None:
    travel.seen = travel.seen.after(travel.sight(date(2026, 11, 28)))
    sight = replace(travel.sight(date(2026, 11, 28)), day=date(2026, 1, 1))
    notices = compare(sight, (), shipped_rules(), travel.seen.before, CheckPolicy())
    (one,) = told(notices, "clock")
    assert one.level == "warning"
    assert one.fact.startswith("it is 2026-01-01 here, but ")
    assert not told(
        compare(
            travel.sight(date(2026, 11, 28)), (), shipped_rules(), travel.seen.before, CheckPolicy()
        ),
        "clock",
    )


@pytest.mark.parametrize("lost", ["kubelet", "kubelet.sha256", "kubectl.cert", "kubeadm.sig"])
@pytest.mark.parametrize("arch", ["amd64", "arm64"])
def test_a_file_without_its_checksum_and_a_checksum_without_its_file_are_both_missed(
    tmp_path: Path, lost: str, arch: str
) -> None:
    """As at some places of the CDN in October 2023: a hash was there, its file was not."""
    with FakeUpstream() as upstream:
        fill(upstream, "1.34.12")
        base = "dl.k8s.io/release/v1.34.12/bin/linux"
        for each in ("amd64", "arm64"):
            for name in ("kubeadm", "kubelet", "kubectl"):
                for suffix in (".sig", ".cert"):
                    upstream.put_file(f"{base}/{each}/{name}{suffix}", b"c3RhbmQtaW4=")
        config = Config(mirrors=upstream.mirrors, retries=0)
        with open_session(config, Store(tmp_path / "store")) as session:
            version, both = KubeVersion("1.34.12"), ("amd64", "arm64")
            assert missing(version, both, session) == []
            del upstream._files[f"/{base}/{arch}/{lost}"]
            (fact,) = missing(version, both, session)
    assert fact.startswith(f"{arch}: {lost}: ")


# --- further stories ---


def parts(kubernetes: str, **components: str) -> Held:
    versions = {name.replace("_", "-"): ReleaseVersion(v) for name, v in components.items()}
    return Held("mine.yaml", Parts(KubeVersion(kubernetes), versions, pins_pause=True))


def noticed(travel: Travel, day: str, *held: Held, rules: RuleBook | None = None) -> list[Notice]:
    sight = travel.sight(date.fromisoformat(day))
    return compare(sight, held, rules or shipped_rules(), Seen().before, CheckPolicy(0))


def test_a_new_minor_whose_end_nobody_knows_is_neither_ended_nor_endless(travel: Travel) -> None:
    """1.35 on its first day: the table that lists ends had it ten days later."""
    rows = tuple(row for row in shipped_rules().minors if row.minor != "1.35")
    rules = shipped_rules().model_copy(update={"minors": rows})
    kinds = {
        one.kind
        for one in noticed(travel, "2025-12-17", parts("1.35.0"), rules=rules)
        if one.subject == "1.35"
    }
    assert "support-unknown" in kinds
    assert not kinds & {"end-of-life", "end-near"}


def test_an_end_that_sources_differ_on_is_told_and_nothing_retires_by_one_of_them(
    travel: Travel,
) -> None:
    """1.31 was to end on 28 October 2025 and ended on 11 November, with its last patch."""
    path = "/raw/kubernetes/website/main/data/releases/schedule.yaml"
    text = "schedules:\n- {release: 1.31, endOfLifeDate: 2025-10-28}\n"
    travel.timeline.faults[path] = (200, {}, text.encode())
    notices = noticed(travel, "2025-11-05", parts("1.31.13"))
    (differ,) = told(notices, "sources-differ")
    assert "2025-11-11 by our rules, on 2025-10-28 by the schedule" in differ.fact
    assert not told(notices, "end-of-life")


def test_a_year_that_is_wrong_in_the_schedule_ends_nothing(travel: Travel) -> None:
    path = "/raw/kubernetes/website/main/data/releases/schedule.yaml"
    text = (
        "schedules:\n- {release: 1.37, endOfLifeDate: 2024-10-28, "
        "next: {release: 1.37.2, targetDate: 1926-10-13}}\n"
    )
    travel.timeline.faults[path] = (200, {}, text.encode())
    notices = noticed(travel, "2026-10-01", parts("1.37.1"))
    assert told(notices, "sources-differ")
    assert not told(notices, "end-of-life")
    assert not told(notices, "end-near")


def test_an_ended_line_that_comes_back_is_mended_again_by_the_rules_of_that_day(
    travel: Travel,
) -> None:
    """containerd 2.1 had ended in May 2026, was revived for a month, and ended in July."""
    mine = parts("1.34.8", containerd="2.1.8")
    own = RuleBook.model_validate(
        {
            "schema": 1,
            "as_of": date(2026, 5, 12),
            "sources": {"us": "RELEASES.md of that day"},
            "lines": (
                {
                    "component": "containerd",
                    "line": "2.1",
                    "end": date(2026, 5, 12),
                    "source": "us",
                },
            ),
        }
    )
    before = shipped_rules().joined(own)
    assert told(noticed(travel, "2026-06-03", mine, rules=before), "line-ended")
    assert not told(noticed(travel, "2026-06-03", mine), "line-ended")
    assert told(noticed(travel, "2026-07-08", mine), "line-ended")


def test_a_security_train_of_a_component_is_taken_in_its_line_where_that_gets_one(
    travel: Travel,
) -> None:
    facts_of = [
        one.fact
        for one in noticed(travel, "2026-09-25", parts("1.36.5", containerd="2.2.8"))
        if one.kind == "component"
    ]
    assert facts_of == ["containerd 2.2.8 could be 2.2.9: newest patch of 2.2"]
    ended = noticed(travel, "2026-09-25", parts("1.34.12", containerd="2.1.9"))
    assert told(ended, "line-ended")  # 2.1 got none
    (change,) = told(ended, "component")
    assert "could be 2.3.6" in change.fact


def test_what_is_on_a_version_with_a_regression_is_told_so_and_which_patch_ends_it(
    travel: Travel,
) -> None:
    notices = noticed(travel, "2026-07-23", parts("1.36.1"))
    (bad,) = [one for one in told(notices, "known-bad") if "leaks memory" in one.fact]
    assert "1.36.3" in bad.hint
    assert "1.36.3" in new(notices)
    assert not told(noticed(travel, "2026-07-23", parts("1.36.3")), "known-bad")


def test_a_fourth_minor_in_support_drops_none(travel: Travel) -> None:
    """1.38 is planned for 16 December 2026, and 1.35 is mended until February."""
    for marker in ("stable", "stable-1.38"):
        travel.timeline.faults[f"/dl/release/{marker}.txt"] = (200, {}, b"v1.38.0\n")
    mine = [parts(text) for text in ("1.34.13", "1.35.9", "1.36.5", "1.37.1")]
    notices = noticed(travel, "2026-12-16", *mine)
    assert new(notices) == ["1.35.10", "1.36.6", "1.37.2", "1.38.0"]
    assert {one.subject for one in told(notices, "end-of-life")} == {"1.34"}


def test_a_tag_that_moves_changes_nothing_that_is_named_by_its_commit() -> None:
    """Calico 3.31.1 and 3.32.0 had another commit a day later."""
    for path in sorted(builtin_recipes().glob("*.yaml")):
        for manifest in load_recipe(path).manifests:
            assert re.search(r"/[0-9a-f]{40}/", manifest.url or ""), manifest.name


def test_the_newest_of_each_kind_is_followed_in_its_highest_revision() -> None:
    def of(version: str, flavour: str, revision: int) -> Held:
        parts = Parts(KubeVersion(version), {}, pins_pause=True)
        place = f"{version} {flavour} {revision}"
        return Held(place, parts, flavour=flavour, revision=revision)

    held = (
        of("1.37.1", "mold-cks", 10),
        of("1.37.1", "mold-cks", 9),
        of("1.37.0", "mold-cks", 11),
        of("1.37.0", "mold-cks-csi", 1),
        of("1.37.1", "mold-cks.gpu", 1),
        of("1.36.5", "mold-cks", 1),
        of("1.36.5", "mold-cks", 1),  # as where one of them starts machines
        of("1.30.1", "mold-cks", 1),  # ended
    )
    ours = followed(held, shipped_rules(), date(2026, 10, 29), CheckPolicy())
    assert [one.place for one in ours] == [
        "1.37.1 mold-cks 10",
        "1.37.0 mold-cks-csi 1",
        "1.37.1 mold-cks.gpu 1",
        "1.36.5 mold-cks 1",
        "1.36.5 mold-cks 1",
    ]
