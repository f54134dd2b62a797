"""Which of two claimants upstream's server keeps (WIRE 3.6): server and worker must agree."""

# JavaScript's localeCompare for printable ASCII, as WIRE 3.6 found it: punctuation, then digits,
# then letters, a letter and its capital alike.
_ORDER = " _-,;:!?.'\"()[]{}@*/\\&#%`^+<=>|~$0123456789"
_RANKS = {character: rank for rank, character in enumerate(_ORDER)}
for _number, _letter in enumerate("abcdefghijklmnopqrstuvwxyz"):
    _RANKS[_letter] = _RANKS[_letter.upper()] = len(_ORDER) + _number


def preferred(one: str, other: str) -> bool:
    """Of two claimants, does ``one`` win? The id that sorts first does; of equals, the second."""
    return _sort_key(one) < _sort_key(other)


def _sort_key(worker: str) -> tuple[list[int], list[bool]]:
    ranks = [_RANKS.get(character, len(_RANKS) + ord(character)) for character in worker]
    return ranks, [character.isupper() for character in worker]
