"""Trees, against the known answers of RFC 6962 and against its definition, word for word."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.trail import merkle
from service.trail.merkle import Frontier, MapTree, ProofError, Tree


def naive(leaves: list[bytes]) -> bytes:
    """The Merkle tree hash as RFC 6962 2.1 defines it."""
    if not leaves:
        return merkle.EMPTY_ROOT
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return merkle.node(naive(leaves[:k]), naive(leaves[k:]))


def naive_consistency(m: int, leaves: list[bytes], *, whole: bool = True) -> list[bytes]:
    """SUBPROOF of RFC 6962 2.1.2."""
    n = len(leaves)
    if m == n:
        return [] if whole else [naive(leaves)]
    k = merkle.split(n)
    if m <= k:
        return [*naive_consistency(m, leaves[:k], whole=whole), naive(leaves[k:])]
    return [*naive_consistency(m - k, leaves[k:], whole=False), naive(leaves[:k])]


def naive_nodes(shown: set[int], start: int, leaves: list[bytes]) -> list[bytes]:
    """The recursion of section 9 over [start, start + len(leaves))."""
    inside = [index for index in shown if start <= index < start + len(leaves)]
    if not inside:
        return [naive(leaves)]
    if len(leaves) == 1:
        return []
    k = merkle.split(len(leaves))
    return naive_nodes(shown, start, leaves[:k]) + naive_nodes(shown, start + k, leaves[k:])


def leaves_of(size: int) -> list[bytes]:
    return [merkle.leaf(str(i).encode()) for i in range(size)]


LEAVES = leaves_of(300)
TREE = Tree(LEAVES)
sizes = st.integers(1, 300)


def test_the_hashes_roots_and_frontiers_are_those_of_certificate_transparency(vectors):
    """Leaf, node and empty hashes, all roots, perfect nodes and frontiers are as published."""
    known = vectors("rfc6962_tree")
    for case in known["single_hashes"]:
        if case["kind"] == "leaf":
            assert merkle.leaf(bytes.fromhex(case["input_hex"])).hex() == case["want"]
        elif case["kind"] == "node":
            found = merkle.node(bytes.fromhex(case["left_hex"]), bytes.fromhex(case["right_hex"]))
            assert found.hex() == case["want"]
        else:
            assert merkle.root([]).hex() == case["want"]
    leaves = [merkle.leaf(bytes.fromhex(text)) for text in known["leaf_inputs_hex"]]
    tree, frontier = Tree(leaves), Frontier()
    for size in range(len(leaves) + 1):
        assert merkle.root(leaves[:size]).hex() == known["roots_by_size_hex"][size]
        assert [digest.hex() for digest in frontier.hashes] == known["frontiers_by_size_hex"][size]
        assert frontier.root().hex() == known["roots_by_size_hex"][size]
        if size < len(leaves):
            frontier.append(leaves[size])
    for level, nodes in enumerate(known["perfect_nodes_hex_by_level"]):
        assert [tree.perfect(level, number).hex() for number in range(len(nodes))] == nodes


def test_tiles_are_named_and_cut_as_in_tlog_tiles(vectors):
    """Paths and partial widths of tiles are those of the specification."""
    known = vectors("tlog_tiles")
    for case in known["index_paths"]:
        assert merkle.tile_index_path(case["n"]) == case["path"]
    for case in known["partial"]:
        for level in range(3):
            if f"level{level}_partial" in case:
                full, width = merkle.tile_widths(level, case["tree_size"])
                assert width == case[f"level{level}_partial"]
                assert full == case.get(f"level{level}_full", 0)
    assert merkle.tile_path(0, 0, 15) == "tile/0/000.p/15"
    assert merkle.tile_path(1, 1000) == "tile/1/x001/000"


@given(st.integers(0, 300))
def test_a_root_is_that_of_the_definition(size):
    """Frontier, tree in memory and the naive recursion agree at every size."""
    want = naive(LEAVES[:size])
    assert merkle.root(LEAVES[:size]) == want
    assert TREE.root(size) == want


@given(st.integers(0, 300))
def test_a_frontier_survives_its_bytes(size):
    """A frontier read back from its bytes goes on as if nothing had happened."""
    frontier = Frontier()
    for digest in LEAVES[:size]:
        frontier.append(digest)
    again = Frontier.parse(frontier.serialise())
    again.append(LEAVES[0])
    assert again.root() == naive([*LEAVES[:size], LEAVES[0]])
    for broken in (frontier.serialise()[:-1], frontier.serialise() + bytes(32), b"", bytes(7)):
        with pytest.raises(ValueError):
            Frontier.parse(broken)


@given(sizes, st.data())
def test_an_inclusion_proof_leads_to_the_root_and_only_with_its_exact_length(size, data):
    """The proof of a leaf gives the root; with a hash more or less it gives nothing."""
    index = data.draw(st.integers(0, size - 1))
    proof = merkle.prove_inclusion(index, size, TREE.hash_of)
    assert merkle.root_of_inclusion(index, size, LEAVES[index], proof) == TREE.root(size)
    with pytest.raises(ProofError):
        merkle.root_of_inclusion(index, size, LEAVES[index], [*proof, bytes(32)])
    if proof:
        with pytest.raises(ProofError):
            merkle.root_of_inclusion(index, size, LEAVES[index], proof[:-1])
        wrong = data.draw(st.integers(0, len(proof) - 1))
        proof[wrong] = bytes(32)
        assert merkle.root_of_inclusion(index, size, LEAVES[index], proof) != TREE.root(size)
    with pytest.raises(ProofError):
        merkle.root_of_inclusion(size, size, LEAVES[0], proof)


@given(st.integers(2, 300), st.data())
def test_a_consistency_proof_is_that_of_the_definition_and_holds_for_nothing_else(new, data):
    """The proof equals RFC 6962 2.1.2; changed, cut, lengthened or for another old tree it fails."""
    old = data.draw(st.integers(1, new - 1))
    proof = merkle.prove_consistency(old, new, TREE.hash_of)
    assert proof == naive_consistency(old, LEAVES[:new])
    roots = TREE.root(old), TREE.root(new)
    merkle.check_consistency(old, new, *roots, proof)
    broken = [([*proof, bytes(32)], *roots), (proof[:-1], *roots), (proof, bytes(32), roots[1])]
    broken += [(proof, roots[0], bytes(32)), ([bytes(32), *proof[1:]], *roots)]
    for hashes, old_root, new_root in broken:
        with pytest.raises(ProofError):
            merkle.check_consistency(old, new, old_root, new_root, hashes)
    for sizes_ in ((0, new), (new, new), (new, old)):
        with pytest.raises(ProofError):
            merkle.check_consistency(*sizes_, *roots, proof)


@given(sizes, st.data())
def test_a_range_proof_leads_to_the_root_of_the_subject(n, data):
    """Left blocks, the leaves of the range and right blocks give the root of the whole tree."""
    a = data.draw(st.integers(0, n))
    b = data.draw(st.integers(a, n))
    left, right = merkle.prove_range(a, b, n, TREE.hash_of)
    frontier = merkle.open_range(a, left)
    assert frontier.root() == TREE.root(a)
    for digest in LEAVES[a:b]:
        frontier.append(digest)
    assert merkle.close_range(frontier, n, right) == TREE.root(n)
    with pytest.raises(ProofError):
        merkle.open_range(a, [*left, bytes(32)])
    with pytest.raises(ProofError):
        merkle.close_range(frontier, n, [*right, bytes(32)])


@given(sizes, st.data())
def test_a_multi_proof_is_that_of_the_recursion_and_is_used_up_exactly(size, data):
    """The hashes are those of the recursion of section 9, in its order; one more or less is refused."""
    shown = sorted(data.draw(st.sets(st.integers(0, size - 1))))
    proof = list(merkle.prove_leaves(shown, size, TREE.hash_of))
    assert proof == naive_nodes(set(shown), 0, LEAVES[:size])
    leaves = [(index, LEAVES[index]) for index in shown]
    assert merkle.root_of_leaves(leaves, size, iter(proof)) == TREE.root(size)
    with pytest.raises(ProofError):
        merkle.root_of_leaves(leaves, size, iter([*proof, bytes(32)]))
    if proof:
        with pytest.raises(ProofError):
            merkle.root_of_leaves(leaves, size, iter(proof[:-1]))
    if shown:
        with pytest.raises(ProofError):
            merkle.root_of_leaves([*leaves, leaves[-1]], size, iter(proof))


def test_a_multi_proof_for_one_leaf_of_the_largest_log_is_short():
    """Time and length follow the shown leaves and the depth, not the size of the log."""
    asked: list[tuple[int, int]] = []
    size = 2**53 - 1
    list(
        merkle.prove_leaves(
            [5, size - 1], size, lambda start, count: asked.append((start, count)) or bytes(32)
        )
    )
    assert len(asked) < 110
    assert sum(count for _, count in asked) == size - 2


@given(st.integers(1, 6), st.data())
def test_the_map_tree_follows_its_buckets(bits, data):
    """Updated bit by bit, the map tree has the root of the definition, and a path for every bucket."""
    leaves = [merkle.leaf(bytes([i])) for i in range(1 << bits)]
    tree = MapTree(bits, b"".join(leaves))
    assert tree.root() == naive(leaves)
    for bucket in data.draw(st.lists(st.integers(0, (1 << bits) - 1), max_size=5)):
        leaves[bucket] = merkle.leaf(leaves[bucket])
        tree.update({bucket: leaves[bucket], 0: leaves[0]})
    assert tree.root() == naive(leaves)
    assert tree.leaves() == b"".join(leaves)
    for bucket, digest in enumerate(leaves):
        assert merkle.root_of_inclusion(bucket, 1 << bits, digest, tree.path(bucket)) == tree.root()
    with pytest.raises(ValueError):
        MapTree(bits, b"")
