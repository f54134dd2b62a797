"""What is told of a job that failed: nothing twice."""

import pytest

from gridd.client.reporting import Seen, _remarks

BUILD = [["Step 1", 1], ["oops", 2, True], ["same", 3], ["same", 4], ["\U0001f4a5 line 2", 5, True]]
REMARKS = [["Failure", 6, True], ["Error building image", 6, True]]


@pytest.mark.parametrize(
    ("logs", "seen", "told"),
    [
        (BUILD + REMARKS, Seen(0, "\U0001f4a5 line 2"), ["Failure", "Error building image"]),
        (BUILD + REMARKS, Seen(0, "  same"), [BUILD[-1][0], "Failure", "Error building image"]),
        (REMARKS, Seen(0, "Successfully tagged x"), ["Failure", "Error building image"]),
        ([["run", 1], *REMARKS], Seen(1, "Failure"), ["Failure", "Error building image"]),
        (REMARKS, Seen(), ["Failure", "Error building image"]),
        (None, Seen(0, "x"), []),
    ],
)
def test_lines_that_were_not_shown_before(logs, seen, told):
    assert _remarks({"logs": logs}, seen) == told
