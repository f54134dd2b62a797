"""The hash object and URL normalisation, where the vectors of job-id.json say only the id."""

import pytest

from gridd_protocol.jobid import hash_object, job_id, normalised_url

BUCKET = "https://metaframe-asman-test.s3.us-west-1.amazonaws.com"


def test_only_what_changes_the_work_is_hashed() -> None:
    assert hash_object(
        {
            "image": "a",
            "command": None,
            "v": 0,
            "unknown": 1,
            "build": {"target": None, "unknown": 1},
            "requirements": {"gpus": 0, "extra": 1},
            "env": {"mp-x": "1", "channel": "2"},
            "inputs": {"f": {"value": None, "type": None, "hash": "h"}, "s": "text"},
            "configFiles": {},
        }
    ) == {
        "image": "a",
        "v": 0,
        "requirements": {"gpus": 0},
        "inputs": {"f": {"value": None}, "s": {}},
    }


@pytest.mark.parametrize("member", ["build", "requirements", "env", "inputs", "configFiles"])
def test_a_member_that_must_be_an_object(member: str) -> None:
    with pytest.raises(ValueError, match=f"definition.{member} is not an object"):
        job_id({member: "text"})


def test_a_null_input() -> None:
    with pytest.raises(ValueError, match=r"definition\.inputs\.a is null"):
        job_id({"inputs": {"a": None}})


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://x/f/1/presignedurl/a/presignedurl/b", "https://x/f/1"),
        ("https://x/f/1?sig=2", "https://x/f/1?sig=2"),
        (BUCKET, f"{BUCKET}/"),
        (f"{BUCKET}?a#b", f"{BUCKET}/"),
        (f"{BUCKET}:443/k", f"{BUCKET}/k"),
        (f"{BUCKET}:/k", f"{BUCKET}/k"),
        (f"{BUCKET}:0444/k?x", f"{BUCKET}:444/k"),
        (f"{BUCKET}:99999/k?x", f"{BUCKET}:99999/k?x"),
        (f"{BUCKET}.Evil.example/k?x", f"{BUCKET}.evil.example/k"),
        (f"{BUCKET}@evil.example/k?x", f"{BUCKET}@evil.example/k?x"),
        (f"{BUCKET}/a/..", f"{BUCKET}/"),
        (f"{BUCKET}/a/b/.", f"{BUCKET}/a/b/"),
        (f"{BUCKET}/../../a/%2E%2e/b", f"{BUCKET}/b"),
        (f"{BUCKET}\\a\\b", f"{BUCKET}/a/b"),
        (f"{BUCKET}/a\tb\n \n", f"{BUCKET}/ab"),
        (f'{BUCKET}/ "<>`{{}}|\\~%zz', f"{BUCKET}/%20%22%3C%3E%60%7B%7D|/~%zz"),
        (f"{BUCKET}/\ud83d\U0001f600", f"{BUCKET}/%EF%BF%BD%F0%9F%98%80"),
        (f"{BUCKET}//a", f"{BUCKET}//a"),
    ],
)
def test_urls(url: str, expected: str) -> None:
    assert normalised_url(url) == expected
