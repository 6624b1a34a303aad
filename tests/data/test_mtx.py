"""Matrix Market files are read as scipy reads them, in pieces; what is wrong with one is said in words."""

import errno
import gzip
import io as io_base
import tracemalloc

import numpy as np
import pytest
from scipy import io, sparse

from sccr_node.data import mtx
from sccr_node.data.mtx import MatrixText, open_text, read_lines
from sccr_node.errors import InputProblem
from tests.support.inputs import counts, mtx_lines, write_texts

VALUES = counts(30, 20)
LINES = mtx_lines(VALUES)


def read(path, cells_first=False):
    with open_text(path) as file:
        return MatrixText(path, file).read(cells_first=cells_first)


def written(tmp_path, lines, newline="\n"):
    write_texts(tmp_path, {"matrix.mtx": lines}, newline)
    return tmp_path / "matrix.mtx"


@pytest.mark.parametrize("order", ["by cells", "by genes", "none"])
@pytest.mark.parametrize("cells_first", [True, False])
@pytest.mark.parametrize("lines_at_a_time", [1, 7, 1 << 18])
def test_any_order_in_any_pieces(tmp_path, order, cells_first, lines_at_a_time, monkeypatch):
    monkeypatch.setattr(mtx, "LINES_AT_A_TIME", lines_at_a_time)
    entries = LINES[3:]
    if order == "by genes":
        entries = sorted(entries, key=lambda line: int(line.split()[0]))
    elif order == "none":
        entries = np.random.default_rng(0).permutation(entries).tolist()
    path = written(tmp_path, [*LINES[:3], *entries])
    matrix = read(path, cells_first)
    expected = io.mmread(path).toarray()  # genes × cells, as in the file
    np.testing.assert_array_equal(matrix.toarray(), expected if cells_first else expected.T)
    assert (matrix.dtype, matrix.format, matrix.indices.dtype) == (np.float32, "csr", np.int32)


@pytest.mark.parametrize("kind", ["integer", "real", "float", "double", "Real"])
def test_kinds_of_numbers(tmp_path, kind):
    path = written(tmp_path, mtx_lines(VALUES / 8, f"{kind} general"))
    np.testing.assert_array_equal(read(path).toarray(), VALUES / 8)


def test_a_pattern_has_ones(tmp_path):
    lines = [LINES[0].replace("integer", "pattern"), *LINES[1:3], *[line.rpartition(" ")[0] for line in LINES[3:]]]
    np.testing.assert_array_equal(read(written(tmp_path, lines)).toarray(), VALUES > 0)


def test_blanks_comments_and_line_ends(tmp_path):
    lines = [
        LINES[0].upper().replace("%%MATRIXMARKET", "%%MatrixMarket"),
        "% one",
        "",
        "%two",
        *LINES[2:5],
        "% more",
        "",
        *LINES[5:],
        "",
    ]
    path = written(tmp_path, [line.replace(" ", "\t") if n % 3 else line for n, line in enumerate(lines)], "\r\n")
    np.testing.assert_array_equal(read(path).toarray(), VALUES)


def test_no_entries(tmp_path):
    assert read(written(tmp_path, [LINES[0], "20 30 0"])).shape == (30, 20)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["gene,cell"], "not a Matrix Market file"),
        ([], "not a Matrix Market file"),
        (["%%MatrixMarket matrix array real general", "2 2"], "of the kind 'matrix array real general'"),
        (["%%MatrixMarket matrix coordinate real symmetric", "2 2 0"], "without symmetry"),
        ([LINES[0], "%", "20 30"], "not the numbers of rows, columns and entries"),
        ([LINES[0]], "not the numbers of rows, columns and entries"),
        ([*LINES[:3], "0 1 5", *LINES[4:]], "an entry in row 0, but its rows are numbered from 1 to 20"),
        ([*LINES[:-1], "1 31 5"], "an entry in column 31, but its columns are numbered from 1 to 30"),
        ([*LINES[:-1], "1 x 5"], "a line that is not an entry"),
        ([*LINES[:-1], "1 2"], "a line that is not an entry"),
        ([*LINES[:3], *[f"{line} 7" for line in LINES[3:]]], "a line that is not an entry"),
        ([*LINES[:-1], "99999999999999999999999 1 1"], "a line that is not an entry"),
        ([*LINES, "1 1 1"], f"more than the {len(LINES) - 3} entries"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(tmp_path, lines, words):
    path = written(tmp_path, lines)
    with pytest.raises(InputProblem) as caught:
        read(path)
    assert words in str(caught.value)
    assert str(path) in str(caught.value)
    assert "damaged" not in str(caught.value)


@pytest.mark.parametrize("lines", [LINES[:-1], LINES[:3], [*LINES[:2], "20 30 99999999999999", *LINES[3:]]])
def test_fewer_entries_than_announced_are_damage(tmp_path, lines):
    with pytest.raises(InputProblem, match="damaged or incomplete"):
        read(written(tmp_path, lines))


class Failing(io_base.BytesIO):
    """A file on a file system that loses its server."""

    def read(self, size=-1):
        if self.tell() > 300:
            raise OSError(errno.EIO, "Input/output error")
        return super().read(100)

    read1 = read


def test_errors_of_the_system_are_not_taken_for_bad_lines(tmp_path):
    path = written(tmp_path, LINES)
    with pytest.raises(OSError) as caught:
        MatrixText(path, Failing(path.read_bytes())).read(cells_first=False)
    assert caught.value.errno == errno.EIO


def test_reading_requires_little_more_than_the_matrix(tmp_path):
    matrix = sparse.random(3000, 2000, 0.25, "csr", np.float32, np.random.default_rng(0))
    matrix.data = np.ceil(matrix.data * 9)
    path = tmp_path / "matrix.mtx.gz"
    with gzip.open(path, "wb", 1) as file:
        io.mmwrite(file, matrix.T.tocsc().astype(int))
    size = matrix.nnz * 8
    tracemalloc.start()
    found = read(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (found != matrix).nnz == 0
    assert peak < 2 * size + 24 * mtx.LINES_AT_A_TIME * 2


def test_lines(tmp_path):
    content = '\ufeffa\tb b\tc\r\n\r\n"q"\t\'x\'\t"\r\nlast\r\n\r\n'.encode()
    (tmp_path / "list").write_bytes(gzip.compress(content))
    assert read_lines(tmp_path / "list") == [["a", "b b", "c"], [""], ["q", "'x'", '"'], ["last"]]
    (tmp_path / "list").write_bytes(b"")
    assert read_lines(tmp_path / "list") == []
