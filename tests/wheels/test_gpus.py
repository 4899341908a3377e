"""Architectures by identifier and by name; the names are those that drivers, Windows and pci.ids write."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchcheck.facts import UNKNOWN
from torchcheck.wheels import gpu_models, gpus

# Sources: developer.nvidia.com/cuda-gpus and its legacy page; the last two columns of a row are what must come out.
NVIDIA = [
    ("10de:2684", "NVIDIA GeForce RTX 4090", "8.9"),
    ("10de:2b85", "NVIDIA GeForce RTX 5090", "12.0"),
    ("10de:2e12", "NVIDIA GB10", "12.1"),
    ("10de:2901", "NVIDIA B200", "10.0"),
    ("10de:3182", "NVIDIA B300 SXM6 AC", "10.3"),
    ("10de:2b00", "NVIDIA Thor", "11.0"),
    ("10de:2342", "NVIDIA GH200 480GB", "9.0"),
    ("10de:2330", "NVIDIA H100 80GB HBM3", "9.0"),
    ("10de:26b9", "NVIDIA L40S", "8.9"),
    ("10de:20b2", "NVIDIA A100-SXM4-80GB", "8.0"),
    ("10de:20b7", "NVIDIA A30", "8.0"),
    ("10de:2236", "NVIDIA A10", "8.6"),
    ("10de:25b6", "NVIDIA A2", "8.6"),
    ("10de:2230", "NVIDIA RTX A6000", "8.6"),
    ("10de:1db4", "Tesla V100-PCIE-16GB", "7.0"),
    ("10de:1eb8", "Tesla T4", "7.5"),
    ("10de:1eb8", "GRID T4-8Q", "7.5"),
    ("10de:15f8", "Tesla P100-PCIE-16GB", "6.0"),
    ("10de:1b38", "Tesla P40", "6.1"),
    ("10de:13f2", "Tesla M60", "5.2"),
    ("10de:13bd", "Tesla M10", "5.0"),
    ("10de:102d", "Tesla K80", "3.7"),
    ("10de:1023", "Tesla K40m", "3.5"),
    ("10de:13bc", "Quadro K1200", "5.0"),
    ("10de:13bb", "Quadro K620", "5.0"),
    ("10de:13ba", "Quadro K2200", "5.0"),
    ("10de:1d13", "NVIDIA GeForce MX250", "6.1"),
    ("10de:1f9f", "NVIDIA GeForce MX550", "7.5"),
    ("10de:25a6", "NVIDIA GeForce MX570", "8.6"),
    ("10de:1f82", "NVIDIA GeForce GTX 1650", "7.5"),
    ("10de:1f36", "Quadro RTX 3000", "7.5"),
    ("10de:2838", "NVIDIA RTX 3000 Ada Generation Laptop GPU", "8.9"),
    ("10de:25a9", "NVIDIA GeForce RTX 2050", "8.6"),
    ("10de:28a3", "NVIDIA GeForce RTX 3050 A Laptop GPU", "8.9"),
    ("10de:139b", "GeForce GTX 960M", "5.0"),
    ("10de:1401", "GeForce GTX 960", "5.2"),
    ("10de:1004", "NVIDIA GeForce GTX 780", "3.5"),
    ("10de:1b00", "NVIDIA TITAN X (Pascal)", "6.1"),
    ("10de:17c2", "GeForce GTX TITAN X", "5.2"),
    ("10de:1d81", "NVIDIA TITAN V", "7.0"),
    ("10de:1e02", "NVIDIA TITAN RTX", "7.5"),
    ("10de:2bb1", "NVIDIA RTX PRO 6000 Blackwell Workstation Edition", "12.0"),
    (None, "Orin (nvgpu)", "8.7"),
    (None, "Xavier (nvgpu)", "7.2"),
    (None, "NVIDIA Tegra X1", "5.3"),
    (None, "AD102 [GeForce RTX 4090]", "8.9"),
    (None, "NVIDIA Corporation TU117GLM [Quadro T1000 Mobile] (rev a1)", "7.5"),
]
AMD = [
    ("1002:73df", "AMD Radeon RX 6700 XT", "gfx1031"),
    ("1002:73bf", "AMD Radeon RX 6800 XT", "gfx1030"),
    ("1002:73ff", "AMD Radeon RX 6600", "gfx1032"),
    ("1002:743f", "AMD Radeon RX 6500 XT", "gfx1034"),
    ("1002:744c", "AMD Radeon RX 7900 XTX", "gfx1100"),
    ("1002:747e", "AMD Radeon RX 7800 XT", "gfx1101"),
    ("1002:7480", "AMD Radeon RX 7600", "gfx1102"),
    ("1002:7550", "AMD Radeon RX 9070 XT", "gfx1201"),
    ("1002:7590", "AMD Radeon RX 9060 XT", "gfx1200"),
    ("1002:731f", "AMD Radeon RX 5700 XT", "gfx1010"),
    ("1002:67df", "Radeon RX 580 Series", "gfx803"),
    ("1002:687f", "Radeon RX Vega 64", "gfx900"),
    ("1002:66af", "AMD Radeon VII", "gfx906"),
    ("1002:69af", "Radeon Pro Vega 20", "gfx904"),
    ("1002:738c", "AMD Instinct MI100", "gfx908"),
    ("1002:740f", "AMD Instinct MI210", "gfx90a"),
    ("1002:74a1", "AMD Instinct MI300X", "gfx942"),
    ("1002:75a3", "AMD Instinct MI355X", "gfx950"),
    ("1002:15bf", "AMD Radeon 780M Graphics", "gfx1103"),
    ("1002:150e", "AMD Radeon 890M Graphics", "gfx1150"),
    ("1002:1586", "AMD Radeon 8060S Graphics", "gfx1151"),
    ("1002:1681", "AMD Radeon 680M", "gfx1035"),
    (None, "Navi 32 [Radeon RX 7700 XT / 7800 XT]", "gfx1101"),
]
INTEL = [
    ("8086:56a0", "Intel(R) Arc(TM) A770 Graphics", True),
    ("8086:e20b", "Intel(R) Arc(TM) B580 Graphics", True),
    ("8086:64a0", "Intel(R) Arc(TM) 140V GPU (16GB)", True),
    ("8086:0bd5", "Intel(R) Data Center GPU Max 1550", True),
    ("8086:9a49", "Intel(R) Iris(R) Xe Graphics", False),
    ("8086:3e92", "Intel(R) UHD Graphics 630", False),
    ("8086:4905", "Intel(R) Iris(R) Xe MAX Graphics", False),
]


@pytest.mark.parametrize(("pci_id", "name", "capability"), NVIDIA)
def test_compute_capability_by_identifier_and_by_name(pci_id, name, capability):
    assert gpus.compute_capability(pci_id, name) == capability
    assert gpus.compute_capability(UNKNOWN, name) == capability
    assert pci_id is None or gpus.compute_capability(pci_id, None) == capability


@pytest.mark.parametrize(("pci_id", "name", "target"), AMD)
def test_gfx_by_identifier_and_by_name(pci_id, name, target):
    assert gpus.gfx(pci_id, name) == target
    assert gpus.gfx(None, name) == target
    assert pci_id is None or gpus.gfx(pci_id, UNKNOWN) == target
    assert gpus.compute_capability(pci_id, name) is None


@pytest.mark.parametrize(("pci_id", "name", "served"), INTEL)
def test_what_xpu_serves_by_identifier_and_by_name(pci_id, name, served):
    assert gpus.xpu_capable(pci_id, name) is served
    assert gpus.xpu_capable(None, name) is served


def test_the_identifier_decides_over_a_name_that_two_chips_share():
    assert gpus.compute_capability("10de:11c7", "GeForce GTX 750 Ti") == "3.0"  # sold with a GK106 too
    assert gpus.compute_capability("10de:1380", "GeForce GTX 750 Ti") == "5.0"


@pytest.mark.parametrize(
    "name", [None, UNKNOWN, "", "NVIDIA RTX 6000", "AMD Radeon(TM) Graphics", "Intel(R) Graphics", "Apple M2"]
)
def test_what_no_table_tells_is_none(name):
    assert (gpus.compute_capability(None, name), gpus.gfx(None, name)) == (None, None)
    assert gpus.xpu_capable(None, name) is None


def test_integrated_and_discrete():
    assert gpus.integrated("1002:164e", None) is True
    assert gpus.integrated("1002:744c", None) is False
    assert gpus.integrated("8086:3e92", None) is True
    assert gpus.integrated("8086:e20b", None) is False
    assert gpus.integrated("10de:2684", None) is False
    assert gpus.integrated(None, "AMD Radeon(TM) Graphics") is True
    assert gpus.integrated(None, "AMD Radeon RX 7900 XTX") is False


def test_blocks_of_identifiers_are_in_order_and_do_not_overlap():
    for table in (gpu_models.NVIDIA_IDS, gpu_models.AMD_IDS, gpu_models.INTEL_XPU_IDS):
        edges = [edge for row in table for edge in row[:2]]
        assert edges == sorted(edges)


def test_every_chip_has_an_architecture():
    assert {chip for *_, chip in gpu_models.NVIDIA_IDS} <= gpu_models.CHIP_CAPABILITY.keys()
    assert {chip for *_, chip in gpu_models.AMD_IDS} <= gpu_models.CHIP_GFX.keys()
    assert gpu_models.CHIP_GFX.keys() >= gpu_models.AMD_INTEGRATED
    assert all(gpus.architecture(value) for value in gpu_models.CHIP_CAPABILITY.values())


@pytest.mark.parametrize(
    ("capability", "name"), [("8.9", "Ada Lovelace"), ("8.6", "Ampere"), ("12.1", "Blackwell"), ("7.0", "Volta")]
)
def test_architecture(capability, name):
    assert gpus.architecture(capability) == name


@given(st.one_of(st.none(), st.text()), st.one_of(st.none(), st.text()))
def test_no_text_raises(pci_id, name):
    for look_up in (gpus.compute_capability, gpus.gfx, gpus.xpu_capable, gpus.integrated):
        look_up(pci_id, name)
    gpus.architecture(name)
