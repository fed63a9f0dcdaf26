"""What docs/selection.md says is so."""

from __future__ import annotations

import re
from pathlib import Path

from dicom_io.foundation.reasons import ReasonCode
from dicom_io.selection.site_rules import JOINTS, TESTS, Meaning
from worker.settings.config import load_settings

PAGE = (Path(__file__).resolve().parents[2] / "docs/selection.md").read_text(encoding="utf-8")


def test_every_reason_and_meaning_on_the_page_exists_and_none_is_left_out() -> None:
    named = set(re.findall(r"(?:ignored|not_analysed|out_of_scope)\((\w+)\)", PAGE))
    assert named <= {str(code) for code in ReasonCode}
    keys = set(re.findall(r"`(\w+)`", PAGE))
    assert keys >= {*Meaning, *JOINTS, *TESTS}


def test_the_example_is_a_configuration(tmp_path: Path) -> None:
    (example,) = re.findall(r"^```toml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    path = tmp_path / "site.toml"
    path.write_text('[[sources]]\nae_title = "ROOM2"\n' + example, encoding="utf-8")
    assert [rule.means for rule in load_settings(path).site_rules] == [Meaning.FRONTAL_CHEST, Meaning.IGNORE]
