"""Faults of a policy folder: what cannot be read is told, and not what only follows from it."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from service.policy import PolicyError, check, read_folder
from service.policy.commands import commands
from service.policy.edition import Policy
from tests.kit import POLICIES

FILES = read_folder(POLICIES)
ACTIONS = frozenset(line.action for line in Policy.from_files(FILES).lines)


def with_change(name: str, old: str, new: str) -> tuple[dict[str, bytes], int]:
    """The shipped files with one text changed, and the line it is in."""
    text = FILES[name].decode()
    assert text.count(old) == 1
    return {**FILES, name: text.replace(old, new).encode()}, text.partition(old)[0].count("\n") + 1


@pytest.mark.parametrize(
    ("name", "old", "new", "what"),
    [
        ("rules.csv", "person.accept_terms-owner,", '"person.accept_terms-owner,', "is not a table row"),
        (
            "rules.csv",
            ",Nobody accepts terms for another\nperson.accept_terms-admin,",
            ',"N\nx,',
            "is not a table row",
        ),
        ("rules.csv", "group.appoint-owner,allow,", "group.appoint-owner,alow,", "effect 'alow' is unknown"),
        ("rules.csv", ",group.appoint,", ",group.apoint,", "action 'group.apoint' is unknown"),
        ("rules.csv", "Only the owner lends powers", "Only the owner, lends powers", "has 11 cells"),
        (
            "rules.csv",
            "credit.recover-sweep,allow,sweep",
            "credit.recover-sweep,allow, sweep",
            "has space around it",
        ),
        ("rules.csv", "group.appoint-owner,", "group.appoint\u200b-owner,", "invisible character"),
        ("rules.csv", "id,effect,", "id,effects,", "columns are"),
        ("measures.csv", "P_MON_SUSPEND,account,", "P_MON_SUSPEND,account,,", "has 21 cells"),
        ("measures.csv", "G_REMIND,group,提醒", 'G_REMIND,group,"提醒', "is not a table row"),
        ("parameters.csv", "log_retention_floor_months,6", "log_retention_floor_months,", "value is empty"),
        ("parameters.csv", "eu_batch_max,100", 'eu_batch_max,"100', "is not a table row"),
        ("reasons.csv", "fraud,诈骗", 'fraud,"诈骗', "is not a table row"),
        ("violations.csv", "telecom and online fraud,4", "telecom and online fraud,4,4", "has 9 cells"),
        ("documents.csv", "group_rules.1,", "group_rules.1,,", "has 8 cells"),
        ("names.csv", "\n", "", "columns are"),
        ("tiers.csv", "group.points.members.21..50,", "group.points.members.21..50,,", "has 10 cells"),
        (
            "tiers.csv",
            "members.51..200,group,points,members,51..200,,12",
            "members.51..200,group,points,members,51..200,,1x",
            "value '1x'",
        ),
        (
            "tiers.csv",
            "group.effect.member_cap.3,group,effect,member_cap,,3",
            "group.effect.member_cap.3,group,effect,member_cap,,5",
            "does not say what",
        ),
        ("model.conf", "e = some", "e = any", "effect is not"),
    ],
)
def test_one_fault_is_told_as_one(name: str, old: str, new: str, what: str) -> None:
    """One fault in, one fault out: its own line is named, and nothing that only follows from it."""
    if name == "names.csv":
        files, line = {**FILES, name: FILES[name].replace(b"\n", b",\n", 1)}, 1
    else:
        files, line = with_change(name, old, new)
    with pytest.raises(PolicyError) as caught:
        Policy.from_files(files, actions=ACTIONS)
    assert [(one.file, one.line) for one in caught.value.problems] == [(name, line)], str(caught.value)
    assert what in caught.value.problems[0].what


def test_faults_of_several_files_are_told_together(tmp_path: Path) -> None:
    """What each file says by itself is judged in all of them at once; a missing file is no reason to doubt the others."""
    files, mute = with_change("rules.csv", "group.appoint-owner,allow,", "group.appoint-owner,alow,")
    parameters, large = with_change("parameters.csv", "eu_batch_max,100", "eu_batch_max,101")
    files["parameters.csv"] = parameters["parameters.csv"]
    del files["measures.csv"]
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    told = [(one.file, one.line) for one in check(tmp_path, ACTIONS)]
    assert told == [("measures.csv", 1), ("parameters.csv", large), ("rules.csv", mute)]
    failed = CliRunner().invoke(commands, ["check", str(tmp_path)])
    assert "3 faults; nothing of this folder may be used" in failed.output
