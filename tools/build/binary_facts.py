"""Prints facts about shared libraries as JSON: system, dependencies, exports. Decides nothing.

    python3 binary_facts.py FILE…

pyelftools reads ELF, macholib reads Mach-O. This script itself checks the page digests of a Mach-O signature.
"""

import hashlib
import json
import struct
import sys

from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerNeedSection
from macholib.MachO import MachO
from macholib.SymbolTable import SymbolTable

# Numbers of load commands and fields, as in <mach-o/loader.h> and <kern/cs_blobs.h>.
LC_ID_DYLIB, LC_RPATH, LC_CODE_SIGNATURE, LC_BUILD_VERSION = 0xD, 0x8000001C, 0x1D, 0x32
# Four load commands load a library. Ordinals count all of them.
LC_LOADS = (0xC, 0x80000018, 0x8000001F, 0x80000023)
CODE_DIRECTORY, ADHOC = 0xFADE0C02, 0x2
CPU_ARM64 = 0x0100000C
FLAT_LOOKUP = 254


def elf(path):
    with open(path, "rb") as file:
        library = ELFFile(file)
        dynamic = next(s for s in library.iter_sections() if isinstance(s, DynamicSection))
        entries = [(tag.entry.d_tag, tag) for tag in dynamic.iter_tags()]
        versions = [s for s in library.iter_sections() if isinstance(s, GNUVerNeedSection)]
        return {
            "format": "elf",
            "machine": library["e_machine"],
            "libraries": [tag.needed for name, tag in entries if name == "DT_NEEDED"],
            "runPaths": [tag.runpath for name, tag in entries if name == "DT_RUNPATH"]
            + [tag.rpath for name, tag in entries if name == "DT_RPATH"],
            "versions": sorted({a.name for s in versions for _, needed in s.iter_versions() for a in needed}),
            "exports": elf_exports(library),
        }


def elf_exports(library):
    symbols = library.get_section_by_name(".dynsym").iter_symbols()
    return sorted(s.name for s in symbols if s["st_shndx"] != "SHN_UNDEF" and s["st_info"]["bind"] != "STB_LOCAL")


def macho(path):
    file = MachO(path)
    header = file.headers[0]
    commands = [(command.cmd, body, data) for command, body, data in header.commands]
    libraries = [text(data) for kind, _, data in commands if kind in LC_LOADS]
    builds = [body for kind, body, _ in commands if kind == LC_BUILD_VERSION]
    signatures = [body for kind, body, _ in commands if kind == LC_CODE_SIGNATURE]
    table = SymbolTable(file)
    return {
        "format": "mach-o",
        "machine": "arm64" if header.header.cputype == CPU_ARM64 else hex(header.header.cputype),
        "oldest": [f"{build.minos >> 16}.{build.minos >> 8 & 255}" for build in builds],
        "name": [text(data) for kind, _, data in commands if kind == LC_ID_DYLIB],
        "libraries": libraries,
        "runPaths": [text(data) for kind, _, data in commands if kind == LC_RPATH],
        "imports": [[name.decode(), origin(entry.n_desc >> 8 & 255, libraries)] for entry, name in table.undefsyms],
        "exports": sorted(name.decode() for _, name in table.extdefsyms),
        "signature": [signature(path, body.dataoff, body.datasize) for body in signatures],
    }


def text(data):
    return data.rstrip(b"\0").decode()


def origin(ordinal, libraries):
    """The library of an import; None for a flat lookup in all loaded libraries."""
    return None if ordinal == FLAT_LOOKUP else libraries[ordinal - 1]


def signature(path, offset, size):
    """Whether the signature is ad hoc, and how many pages differ from their recorded digest."""
    with open(path, "rb") as file:
        whole = file.read()
    blob = whole[offset : offset + size]
    (count,) = struct.unpack(">8xI", blob[:12])
    places = [struct.unpack(">4xI", blob[12 + 8 * n : 20 + 8 * n])[0] for n in range(count)]
    directory = next(blob[place:] for place in places if struct.unpack(">I", blob[place : place + 4])[0] == CODE_DIRECTORY)
    flags, hashes, pages, limit, width, page = struct.unpack(">12xII8xIIB2xB", directory[:40])
    page = 1 << page
    digests = [directory[hashes + n * width : hashes + (n + 1) * width] for n in range(pages)]
    actual = [hashlib.sha256(whole[n * page : min((n + 1) * page, limit)]).digest()[:width] for n in range(pages)]
    return {"adHoc": bool(flags & ADHOC), "covered": limit == offset, "wrongPages": sum(map(bytes.__ne__, digests, actual))}


def facts(path):
    with open(path, "rb") as file:
        magic = file.read(4)
    return elf(path) if magic == b"\x7fELF" else macho(path)


print(json.dumps({path: facts(path) for path in sys.argv[1:]}))
