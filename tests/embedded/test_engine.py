"""The tables of numbers, in this process: Mathics' atoms are imported, no kernel is loaded."""
import pytest


@pytest.fixture
def atoms(needs_mathics):
    from mathics.core import atoms

    return atoms


def test_tables_are_emptied_when_they_have_grown(atoms):
    from wstpserver.embedded.engine import TABLE_LIMIT, NumberTables

    first = atoms.MachineReal(0.125)
    tables = NumberTables()
    known = len(atoms.MachineReal._machine_reals)
    for number in range(TABLE_LIMIT):
        atoms.MachineReal(number + 0.375)
    tables.trim()
    assert len(atoms.MachineReal._machine_reals) == known + TABLE_LIMIT  # not yet worth it
    atoms.MachineReal(-0.375)
    tables.trim()
    assert len(atoms.MachineReal._machine_reals) == known
    assert atoms.MachineReal(0.125) is first
    assert atoms.Integer(0) is atoms.Integer0


def test_arrays_pass_by_the_tables(atoms):
    from wstpserver.embedded.arrays import integers, machine_reals

    known = len(atoms.Integer._integers), len(atoms.MachineReal._machine_reals)
    assert [atom.value for atom in integers(range(10**6, 10**6 + 100))] == list(range(10**6, 10**6 + 100))
    assert [atom.value for atom in machine_reals([1.0625, -2.0625])] == [1.0625, -2.0625]
    assert (len(atoms.Integer._integers), len(atoms.MachineReal._machine_reals)) == known
    assert integers([5])[0] is atoms.Integer(5)


def test_numbers_of_arrays_are_equal_to_others(atoms):
    from wstpserver.embedded.arrays import integers, machine_reals

    (integer,), (real,) = integers([10**6]), machine_reals([0.0625])
    assert integer == atoms.Integer(10**6) and hash(integer) == hash(atoms.Integer(10**6))
    assert real == atoms.MachineReal(0.0625) and hash(real) == hash(atoms.MachineReal(0.0625))
