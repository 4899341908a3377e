"""Which GPU is which: device identifiers and model names against architectures. Data only; `gpus` looks things up.

Sources: the PCI ID database (pci-ids.ucw.cz, 2026.05.24) for identifiers and chips; NVIDIA's "CUDA GPU compute
capability" pages and the Maxwell to Blackwell tuning guides for capabilities; AMD's ROCm "GPU architecture
specifications" and LLVM's AMDGPU user guide for gfx targets; Linux include/drm/intel/pciids.h for Intel's platforms and
docs.pytorch.org "Getting started on Intel GPU" for those that PyTorch serves.
"""

from __future__ import annotations

from typing import TypeVar

Verdict = TypeVar("Verdict")

CHIP_CAPABILITY = {
    "GF100": "2.0", "GF110": "2.0", "GF104": "2.1", "GF106": "2.1", "GF108": "2.1", "GF114": "2.1", "GF116": "2.1",
    "GF117": "2.1", "GF119": "2.1",
    "GK104": "3.0", "GK106": "3.0", "GK107": "3.0", "GK110": "3.5", "GK180": "3.5", "GK208": "3.5", "GK210": "3.7",
    "GM107": "5.0", "GM108": "5.0", "GM200": "5.2", "GM204": "5.2", "GM206": "5.2", "GM20B": "5.3",
    "GP100": "6.0", "GP102": "6.1", "GP104": "6.1", "GP106": "6.1", "GP107": "6.1", "GP108": "6.1", "GP10B": "6.2",
    "GV100": "7.0", "GV11B": "7.2",
    "TU102": "7.5", "TU104": "7.5", "TU106": "7.5", "TU116": "7.5", "TU117": "7.5",
    "GA100": "8.0", "GA102": "8.6", "GA103": "8.6", "GA104": "8.6", "GA106": "8.6", "GA107": "8.6", "GA10B": "8.7",
    "AD102": "8.9", "AD103": "8.9", "AD104": "8.9", "AD106": "8.9", "AD107": "8.9",
    "GH100": "9.0",
    "GB100": "10.0", "GB102": "10.0", "GB110": "10.3", "GB10B": "11.0",
    "GB202": "12.0", "GB203": "12.0", "GB205": "12.0", "GB206": "12.0", "GB207": "12.0", "GB20B": "12.1",
}  # fmt: skip
"""NVIDIA's chip to its compute capability."""

NVIDIA_IDS = (
    (0x06C0, 0x06DF, "GF100"), (0x0DC0, 0x0DDF, "GF106"), (0x0DE0, 0x0DFF, "GF108"), (0x0E20, 0x0E3F, "GF104"),
    (0x0F00, 0x0F0F, "GF108"),
    (0x0FC0, 0x0FFF, "GK107"), (0x1001, 0x102C, "GK110"), (0x102D, 0x102D, "GK210"), (0x102E, 0x103F, "GK110"),
    (0x1040, 0x107F, "GF119"), (0x1080, 0x109F, "GF110"), (0x1140, 0x117F, "GF117"), (0x1180, 0x11BF, "GK104"),
    (0x11C0, 0x11FF, "GK106"), (0x1200, 0x121F, "GF114"), (0x1240, 0x125F, "GF116"), (0x1280, 0x12BF, "GK208"),
    (0x1340, 0x137F, "GM108"), (0x1380, 0x13BF, "GM107"), (0x13C0, 0x13FF, "GM204"), (0x1400, 0x143F, "GM206"),
    (0x15F0, 0x15FF, "GP100"), (0x1600, 0x167F, "GM204"), (0x1720, 0x173F, "GP100"), (0x1740, 0x177F, "GM108"),
    (0x1780, 0x17BF, "GM107"), (0x17C0, 0x17FF, "GM200"), (0x1B00, 0x1B7F, "GP102"), (0x1B80, 0x1BFF, "GP104"),
    (0x1C00, 0x1C7F, "GP106"), (0x1C80, 0x1CFF, "GP107"), (0x1D00, 0x1D7F, "GP108"), (0x1D80, 0x1DFF, "GV100"),
    (0x1E00, 0x1E7F, "TU102"), (0x1E80, 0x1EFF, "TU104"), (0x1F00, 0x1F7F, "TU106"), (0x1F80, 0x1FFF, "TU117"),
    (0x2080, 0x20FF, "GA100"), (0x2180, 0x21FF, "TU116"), (0x2200, 0x227F, "GA102"), (0x2300, 0x23FF, "GH100"),
    (0x2400, 0x247F, "GA103"), (0x2480, 0x24FF, "GA104"), (0x2500, 0x257F, "GA106"), (0x2580, 0x25FF, "GA107"),
    (0x2680, 0x26FF, "AD102"), (0x2700, 0x277F, "AD103"), (0x2780, 0x27FF, "AD104"), (0x2800, 0x287F, "AD106"),
    (0x2880, 0x28FF, "AD107"), (0x2900, 0x297F, "GB100"), (0x2980, 0x29FF, "GB102"), (0x2B00, 0x2B3F, "GB10B"),
    (0x2B80, 0x2BFF, "GB202"), (0x2C00, 0x2C7F, "GB203"), (0x2D00, 0x2D7F, "GB206"), (0x2D80, 0x2DFF, "GB207"),
    (0x2E00, 0x2E7F, "GB20B"), (0x2F00, 0x2F7F, "GB205"), (0x3180, 0x31FF, "GB110"),
)  # fmt: skip
"""NVIDIA's device identifiers of graphics functions (first, last, chip); a chip owns an aligned block."""

NVIDIA_NAMES = (
    # Jetson and other integrated ones: the name is all that there is, they are no PCI devices.
    (r"THOR\b", "11.0"), (r"ORIN\b", "8.7"), (r"XAVIER\b", "7.2"), (r"\b(TX2|TEGRA X2|PARKER)\b", "6.2"),
    (r"\b(TX1|TEGRA X1|JETSON NANO)\b", "5.3"), (r"\b(GB10|DGX SPARK|N1X?)\b", "12.1"),
    # Data centre
    (r"\bG?B300\b", "10.3"), (r"\bG?B[12]00A?\b", "10.0"), (r"\b(GH200|H[128]00L?|H20B?)\b", "9.0"),
    (r"\b(L40[SG]?|L30|L20|L16|L4|L2)\b", "8.9"), (r"\b(A100X?|A800|A30X?|AX800|170HX)\b", "8.0"),
    (r"\b(A2|A10[GM]?|A16|A40)\b", "8.6"), (r"\b(T4G?|T10|T40)\b", "7.5"), (r"\b(G?V100[A-Z]*|V100)\b", "7.0"),
    (r"\bG?P100\b", "6.0"), (r"\b(TESLA|GRID|NVIDIA) P(4|6|40)\b", "6.1"),
    (r"\b(TESLA|GRID|NVIDIA) M(4|6|40|60)\b", "5.2"), (r"\b(TESLA|GRID|NVIDIA) M10\b", "5.0"), (r"\bK80\b", "3.7"),
    (r"\bK(20[CMSX]*|40[CMST]*)\b", "3.5"), (r"\b(GRID K1|GRID K2|K10|K520|K340)\b", "3.0"),
    # Workstation
    (r"\bRTX PRO \d+|\bRTX 6000D\b|\bRTX \d+D? BLACKWELL", "12.0"), (r"\bADA\b", "8.9"),
    (r"\bRTX A\d+", "8.6"), (r"\b(QUADRO|TITAN|GRID) ?RTX|\bRTX ?8000\b|\bQUADRO T\d+", "7.5"),
    (r"\bT(4|5|6|10|12|20)00\b|\bT550\b", "7.5"),
    (r"\bQUADRO P\d+", "6.1"), (r"\bQUADRO (M6000|M5\d00M?|M4000M?|M3000M|M2000|M2200)\b", "5.2"),
    (r"\bQUADRO (M\d+M?|K(620|1200|2200)M?)\b|\bNVS 810\b", "5.0"),
    (r"\bQUADRO K(6000|5200|[3-6]10M)\b", "3.5"), (r"\bQUADRO K\d+|\bNVS 510\b", "3.0"),
    # GeForce and Titan
    (r"\bRTX 50(\d\d| SERIES)", "12.0"), (r"\bRTX 3050 A LAPTOP|\bRTX 40(\d\d| SERIES)", "8.9"),
    (r"\bRTX (2050|30(\d\d| SERIES))|\bMX570|\b[79]0HX", "8.6"),
    (r"\bRTX 20(\d\d| SERIES)|\bGTX 16\d\d|\bMX(450|550)|\b[345]0HX", "7.5"), (r"\bTITAN V\b", "7.0"),
    (r"\b(GTX 10\d\d|GT 10[13]0|MX(150|[23][35]0)|TITAN XP|TITAN X \(?PASCAL|P10[2346]-\d+)", "6.1"),
    (r"\bGTX (TITAN X|9[5-8]0( TI)?|9(65|7[05]|80)MX?)\b", "5.2"),
    (r"\b(GTX (7[45][05]( TI)?|850M|9[56]0M)|GTX 750|MX1[13]0|8[345]0M|84[05]M|9[34][05]MX?|920MX)\b", "5.0"),
    (r"\b(GTX 780( TI)?|GTX TITAN( BLACK| Z)?|GT 7[123]0|9[12]0M)\b", "3.5"),
    (r"\b(GTX (6[4-9][05]|7[678]0|7[67]5|8[78]0)(M|MX)?|GTX 690|GT (6[45]0|740)M?)\b", "3.0"),
    # Fermi and what is older still: they need no exact number, no build of torch since 1.3 has kernels for them.
    (r"\b(GTX?|GTS|GEFORCE) [45]\d0M?\b|\b(TESLA|NVIDIA) [CM]20\d\d|\bQUADRO ([1-7]0{3}|600|400)M?\b", "2.0"),
    (r"\bGEFORCE (GTX?|GTS)? ?[1-3]\d\dM?\b|\bGEFORCE [6-9]\d00|\bQUADRO (FX|NVS)\b|\bTESLA C10\d0\b", "1.3"),
)  # fmt: skip
"""NVIDIA's model names (patterns over the upper-case name, first match wins) to their compute capability."""

ARCHITECTURES = (
    ("12", "Blackwell"), ("11", "Blackwell"), ("10", "Blackwell"), ("9", "Hopper"), ("8.9", "Ada Lovelace"),
    ("8", "Ampere"), ("7.5", "Turing"), ("7", "Volta"), ("6", "Pascal"), ("5", "Maxwell"), ("3", "Kepler"),
    ("2", "Fermi"),
)  # fmt: skip
"""Compute capability (whole, or its major number) to the name of the architecture."""

LAST_DRIVERS = {"Fermi": 390, "Kepler": 470, "Maxwell": 580, "Pascal": 580, "Volta": 580}
"""The last branch of NVIDIA's driver that serves an architecture; those not named are served by the newest.

Source: NVIDIA's Unix graphics feature deprecation schedule
(https://forums.developer.nvidia.com/t/unix-graphics-feature-deprecation-schedule/60588); Windows shares the branches.
"""

CHIP_GFX = {
    "Tonga": "gfx802", "Fiji": "gfx803", "Polaris": "gfx803", "Ellesmere": "gfx803", "Baffin": "gfx803",
    "Lexa": "gfx803", "Vega 10": "gfx900", "Vega 12": "gfx904", "Vega 20": "gfx906", "Arcturus": "gfx908",
    "Aldebaran": "gfx90a", "Aqua Vanjaram": "gfx942", "Raven Ridge": "gfx902", "Picasso": "gfx902",
    "Renoir": "gfx90c", "Lucienne": "gfx90c", "Cezanne": "gfx90c", "Barcelo": "gfx90c",
    "Navi 10": "gfx1010", "Navi 12": "gfx1011", "Navi 14": "gfx1012", "Navi 21": "gfx1030", "Navi 22": "gfx1031",
    "Navi 23": "gfx1032", "Van Gogh": "gfx1033", "VanGogh": "gfx1033", "Navi 24": "gfx1034", "Rembrandt": "gfx1035",
    "Raphael": "gfx1036", "Granite Ridge": "gfx1036", "Mendocino": "gfx1037", "Navi 31": "gfx1100",
    "Navi 32": "gfx1101", "Navi 33": "gfx1102", "Phoenix": "gfx1103", "Hawk Point": "gfx1103",
    "Strix Halo": "gfx1151", "Strix": "gfx1150", "Krackan": "gfx1152", "Navi 44": "gfx1200", "Navi 48": "gfx1201",
}  # fmt: skip
"""AMD's chip, as the PCI ID database names it, to its gfx target; longer names stand before those they contain."""

AMD_IDS = (
    (0x1114, 0x1114, "Krackan"), (0x13C0, 0x13C0, "Granite Ridge"), (0x1435, 0x1435, "Van Gogh"),
    (0x1506, 0x1506, "Mendocino"), (0x150E, 0x150E, "Strix"), (0x1586, 0x1586, "Strix Halo"),
    (0x15BF, 0x15BF, "Phoenix"), (0x15C8, 0x15C8, "Phoenix"), (0x15D8, 0x15D8, "Picasso"),
    (0x15DD, 0x15DD, "Raven Ridge"), (0x15E7, 0x15E7, "Barcelo"), (0x1636, 0x1636, "Renoir"),
    (0x1638, 0x1638, "Cezanne"), (0x163F, 0x163F, "Van Gogh"), (0x164C, 0x164C, "Lucienne"),
    (0x164D, 0x164D, "Rembrandt"), (0x164E, 0x164E, "Raphael"), (0x1681, 0x1681, "Rembrandt"),
    (0x1900, 0x1901, "Hawk Point"), (0x66A0, 0x66AF, "Vega 20"), (0x67C0, 0x67DF, "Ellesmere"),
    (0x67E0, 0x67FF, "Baffin"), (0x6860, 0x687F, "Vega 10"), (0x6920, 0x693F, "Tonga"), (0x694C, 0x694F, "Polaris"),
    (0x6980, 0x699F, "Lexa"), (0x69A0, 0x69AF, "Vega 12"), (0x6FDF, 0x6FDF, "Polaris"), (0x7300, 0x730F, "Fiji"),
    (0x7310, 0x731F, "Navi 10"), (0x7340, 0x734F, "Navi 14"), (0x7360, 0x7362, "Navi 12"),
    (0x7388, 0x7390, "Arcturus"), (0x73A0, 0x73BF, "Navi 21"), (0x73C0, 0x73DF, "Navi 22"),
    (0x73E0, 0x73FF, "Navi 23"), (0x7408, 0x7410, "Aldebaran"), (0x7420, 0x743F, "Navi 24"),
    (0x7448, 0x745F, "Navi 31"), (0x7460, 0x747F, "Navi 32"), (0x7480, 0x749F, "Navi 33"),
    (0x74A0, 0x74BF, "Aqua Vanjaram"), (0x7550, 0x755F, "Navi 48"), (0x7590, 0x759F, "Navi 44"),
)  # fmt: skip
"""AMD's device identifiers of graphics and compute functions (first, last, chip)."""

AMD_INTEGRATED = frozenset(
    {"Raven Ridge", "Picasso", "Renoir", "Lucienne", "Cezanne", "Barcelo", "Van Gogh", "Rembrandt", "Raphael",
     "Granite Ridge", "Mendocino", "Phoenix", "Hawk Point", "Strix", "Strix Halo", "Krackan"}
)  # fmt: skip
"""AMD's chips whose graphics share a package with the processor."""

AMD_GFX_IDS = ((0x75A0, 0x75BF, "gfx950"),)
"""Device identifiers of AMD's accelerators that the PCI ID database gives no chip name for."""

AMD_NAMES = (
    (r"\bMI3[56]\d", "gfx950"), (r"\bMI3\d\d", "gfx942"), (r"\bMI2\d\d", "gfx90a"), (r"\bMI100\b", "gfx908"),
    (r"\b(MI[56]0|RADEON VII|PRO VII|PRO VEGA II)\b", "gfx906"), (r"\bMI25\b", "gfx900"), (r"\bMI[68]\b", "gfx803"),
    (r"\bRX 9060", "gfx1200"), (r"\bRX 90[78]0|\bR9[67]00", "gfx1201"),
    (r"\b(80[4-6]0S|STRIX HALO)\b", "gfx1151"), (r"\b8[89]0M\b", "gfx1150"), (r"\b8[46]0M\b", "gfx1152"),
    (r"\b7[468]0M\b", "gfx1103"), (r"\bRX (7[4-6]00|7650|7700S)|\bW7[56]00", "gfx1102"),
    (r"\bRX 7[78]00|\bW7700|\bV710\b", "gfx1101"), (r"\bRX 7900|\bW7[89]00", "gfx1100"), (r"\b6[68]0M\b", "gfx1035"),
    (r"\bRX 6[345]00|\bRX 6[45]50|\bW6[345]00", "gfx1034"),
    (r"\bRX (66\d0|6700S|6800S)|\bW6600", "gfx1032"), (r"\bRX (67\d0|6[78]00M|6850M)", "gfx1031"),
    (r"\bRX 6[89]\d0|\bW6[89]00|\bV620", "gfx1030"), (r"\bRX 5[35]00|\bPRO (W?5[35]00)|\bW5500", "gfx1012"),
    (r"\bPRO (5600M|V520|V540)\b", "gfx1011"), (r"\bRX 5[67]\d0|\bW5700|\bPRO 5[67]00", "gfx1010"),
    (r"\bVEGA (48|56|64X?|FRONTIER)|\bWX (8[12]00|9100)", "gfx900"),
    (r"\bPRO VEGA (16|20)\b", "gfx904"),
    (r"\bRX (VEGA M|[45][3-9]\d)|\bRX 640\b|\bWX [2-7]1\d\d|\bWX 3200|\bR9 (FURY|NANO)", "gfx803"),
    (r"\bR9 (285|380X?)\b", "gfx802"), (r"\bRX VEGA (3|8|10|11)\b", "gfx902"),
)  # fmt: skip
"""AMD's model names (patterns over the upper-case name, first match wins) to their gfx target."""

INTEL_XPU_IDS = (
    (0x0B69, 0x0B6E), (0x0BD0, 0x0BE5),  # Ponte Vecchio, Data Center GPU Max
    (0x4F80, 0x4F88), (0x5690, 0x56BF), (0x56C0, 0x56C2),  # Arc A, Flex
    (0x6420, 0x6420), (0x64A0, 0x64B0),  # Lunar Lake
    (0x7D51, 0x7D51), (0x7D55, 0x7D55), (0x7DD1, 0x7DD1), (0x7DD5, 0x7DD5),  # Arrow Lake-H, Meteor Lake-H
    (0xB080, 0xB0BF),  # Panther Lake
    (0xE202, 0xE22F),  # Arc B
)  # fmt: skip
"""Intel's device identifiers (first, last) of the GPUs that PyTorch's XPU build is documented to serve."""

INTEL_DISCRETE_IDS = ((0x0B69, 0x0BE5), (0x4905, 0x4909), (0x4F80, 0x4F88), (0x5690, 0x56C2), (0xE202, 0xE22F))
"""Intel's device identifiers (first, last) of GPUs with memory of their own."""

INTEL_NAMES = (
    (r"\bIRIS XE MAX|\bDG1\b", False),
    (r"\bARC\b|\bDATA CENTER GPU|\bPONTE VECCHIO|\bDG2\b|\bBATTLEMAGE|\bLUNAR LAKE|\bPANTHER LAKE", True),
    (r"\bUHD\b|\bHD GRAPHICS|\bIRIS\b|\bGMA\b", False),
)
"""Intel's model names (patterns over the upper-case name, first match wins): is this one that XPU serves."""
