"""Room on the disk of an output."""

import pytest

from sccr_node.errors import NotEnoughResources
from sccr_node.runtime import standins
from sccr_node.runtime.scratch import work_dir
from sccr_node.storage.files import check_room


def test_an_output_that_does_not_fit_is_refused(tmp_path):
    check_room(tmp_path / "out.h5ad", 1000)
    with pytest.raises(NotEnoughResources, match=r"cannot write .*out\.h5ad: not enough disk space .* write elsewhere"):
        check_room(tmp_path / "out.h5ad", 1 << 60)


def test_the_output_of_an_address_needs_room_in_scratch(tmp_path, monkeypatch):
    monkeypatch.setattr(standins, "_addresses", {str(tmp_path / "lab"): "s3://lab"})
    with work_dir(tmp_path):
        check_room(tmp_path / "lab" / "out.h5ad", 1000)
        with pytest.raises(NotEnoughResources, match=r"temporary files in .*choose another folder \(--work-dir\)"):
            check_room(tmp_path / "lab" / "out.h5ad", 1 << 60)
