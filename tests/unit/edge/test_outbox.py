"""The outbox: one write a turn, bounded, coalescing, and rid of peers that do not read."""

import asyncio

from gridd.edge import outbox as module
from gridd.edge.outbox import TOO_SLOW, Outbox
from gridd_protocol.limits import OUTBOX_COALESCE_BYTES


class FakeTransport(asyncio.WriteTransport):
    """Takes what it is given; ``stuck`` says how much of it nobody has read."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.stuck = 0
        self.aborted = False
        self.closing = False

    def write(self, data: bytes) -> None:
        self.writes.append(bytes(data))

    def get_write_buffer_size(self) -> int:
        return self.stuck

    def is_closing(self) -> bool:
        return self.closing

    def abort(self) -> None:
        self.aborted = True


async def turn() -> None:
    await asyncio.sleep(0)


async def until(condition, what: str) -> None:
    deadline = asyncio.get_running_loop().time() + 10
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, what
        await asyncio.sleep(0.001)


async def test_frames_of_one_turn_leave_in_one_write_in_order():
    transport = FakeTransport()
    box = Outbox(transport)
    for frame in (b"a", b"b", b"c"):
        box.push(frame)
    assert transport.writes == []
    await turn()
    assert transport.writes == [b"abc"]
    assert box.waiting_bytes == 0


async def test_while_the_transport_is_full_frames_wait_and_leave_when_it_is_not():
    transport = FakeTransport()
    transport.stuck = 10 << 20
    box = Outbox(transport)
    box.push(b"a")
    await turn()
    assert transport.writes == []
    assert box.waiting_bytes == 1
    transport.stuck = 0
    await until(lambda: transport.writes == [b"a"], "the frame never left")


async def test_of_waiting_states_of_one_job_only_the_latest_is_sent():
    transport = FakeTransport()
    transport.stuck = 10 << 20
    box = Outbox(transport)
    box.push(b"L" * (OUTBOX_COALESCE_BYTES + 1))
    box.push(b"<j queued>", "j")
    box.push(b"<k queued>", "k")
    box.push(b"<log>")
    box.push(b"<j running>", "j")
    await turn()
    transport.stuck = 0
    await until(lambda: bool(transport.writes), "nothing left")
    sent = b"".join(transport.writes).lstrip(b"L")
    assert sent == b"<k queued><log><j running>"


async def test_a_peer_that_keeps_up_sees_every_state():
    transport = FakeTransport()
    box = Outbox(transport)
    box.push(b"<queued>", "j")
    box.push(b"<running>", "j")
    box.push(b"<finished>", "j")
    await turn()
    assert transport.writes == [b"<queued><running><finished>"]


async def test_keys_of_frames_already_sent_replace_nothing():
    transport = FakeTransport()
    box = Outbox(transport)
    box.push(b"<first>", "j")
    await turn()
    transport.stuck = 10 << 20
    box.push(b"L" * (OUTBOX_COALESCE_BYTES + 1))
    box.push(b"<second>", "j")
    transport.stuck = 0
    await until(lambda: len(transport.writes) == 2, "the second write never came")
    assert transport.writes[1].endswith(b"<second>")


async def test_above_the_bound_the_peer_is_let_go_with_a_code(monkeypatch):
    monkeypatch.setattr(module, "_FAREWELL_S", 0.01)
    transport = FakeTransport()
    transport.stuck = 10 << 20
    box = Outbox(transport, bytes_max=100)
    box.push(b"x" * 100)
    assert not box.closed
    box.push(b"y")
    assert box.closed
    assert box.was_cut_off
    assert box.waiting_bytes == 0
    assert transport.writes[-1][2:4] == TOO_SLOW.to_bytes(2, "big")
    box.push(b"z")
    await until(lambda: transport.aborted, "the connection was not aborted")
    assert not any(b"z" in write for write in transport.writes)


async def test_a_peer_that_reads_nothing_is_let_go_after_the_stall_time():
    transport = FakeTransport()
    transport.stuck = 10 << 20
    box = Outbox(transport, stall_ms=30)
    box.push(b"a")
    await until(lambda: box.closed, "a stalled peer was kept")
    assert box.was_cut_off
    assert transport.writes[-1][2:4] == TOO_SLOW.to_bytes(2, "big")


async def test_closing_after_sending_writes_what_waits_first():
    transport = FakeTransport()
    box = Outbox(transport)
    box.push(b"last words")
    box.close_after_sending(1001, "bye")
    assert transport.writes[0] == b"last words"
    assert transport.writes[1][2:4] == (1001).to_bytes(2, "big")
    await turn()
    assert len(transport.writes) == 2


async def test_nothing_is_written_to_a_connection_that_is_gone():
    transport = FakeTransport()
    transport.closing = True
    box = Outbox(transport)
    box.push(b"a")
    await turn()
    assert transport.writes == []
    assert box.closed
