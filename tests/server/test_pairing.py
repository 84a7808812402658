"""Two connections become one link, whichever comes first and whoever gives up."""
import pytest

from wstpserver.server.pairing import Pairing, Rejected

UUID, OTHER = "23E744F7-9AE5-481E-B5EA-9AE4CBF1C047", "33E744F7-9AE5-481E-B5EA-9AE4CBF1C047"


class Connection:
    """Stands for a connection that has said which link it belongs to."""


@pytest.fixture
def pairing():
    pairing = Pairing()
    yield pairing
    assert not pairing._data and not pairing._messages


def test_data_first(pairing):
    data, messages = Connection(), Connection()
    assert pairing.take_messages(UUID, data) is None
    assert pairing.take_data(UUID, messages) is data


def test_messages_first(pairing):
    data, messages = Connection(), Connection()
    assert pairing.take_data(UUID, messages) is None
    assert pairing.take_messages(UUID, data) is messages


def test_different_links_do_not_mix(pairing):
    data = {uuid: Connection() for uuid in (UUID, OTHER)}
    assert all(pairing.take_messages(uuid, data[uuid]) is None for uuid in data)
    assert all(pairing.take_data(uuid, Connection()) is data[uuid] for uuid in (OTHER, UUID))


@pytest.mark.parametrize("kind", ["take_messages", "take_data"])
def test_a_second_connection_of_either_kind(pairing, kind):
    first, second = Connection(), Connection()
    take = getattr(pairing, kind)
    assert take(UUID, first) is None
    with pytest.raises(Rejected, match=f"says that it is {UUID}"):
        take(UUID, second)
    pairing.forget(UUID, second)
    other = pairing.take_data if kind == "take_messages" else pairing.take_messages
    assert other(UUID, Connection()) is first  # it has not been harmed


@pytest.mark.parametrize("kind", ["take_messages", "take_data"])
def test_who_gives_up_makes_room_for_another_attempt(pairing, kind):
    first, second = Connection(), Connection()
    take = getattr(pairing, kind)
    assert take(UUID, first) is None
    pairing.forget(UUID, first)
    assert take(UUID, second) is None
    pairing.forget(UUID, second)


def test_a_uuid_serves_again_after_its_link(pairing):
    for _ in range(3):
        data = Connection()
        assert pairing.take_messages(UUID, data) is None
        assert pairing.take_data(UUID, Connection()) is data
