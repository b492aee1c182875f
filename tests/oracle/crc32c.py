"""Raw CRC-32C (Castagnoli, register not inverted at the end) of a buffer.

A checker spends most of its time in checksums if they are done byte by byte in Python, so the work is given to
libisal when that is installed.  Without it, tables over 16 bits do a 4 KiB block in about a tenth of a millisecond.
"""

import struct

POLYNOMIAL = 0x82F63B78
CHECK_INPUT = b"123456789"
CHECK_VALUE = 0x1CF96D7C


def _byte_table():
    table = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ (POLYNOMIAL if value & 1 else 0)
        table.append(value)
    return table


class TableCrc:
    """The portable way: one table step for each half of a 32-bit word."""

    def __init__(self):
        byte = _byte_table()
        after_byte = [byte[value & 0xFF] ^ (value >> 8) for value in range(1 << 16)]
        # _half[x] is the register after 16 zero bits, _word[x] after 32, both from a register holding the 16-bit x.
        half = [byte[value & 0xFF] ^ (value >> 8) for value in after_byte]
        self._byte = byte
        self._half = half
        self._word = [half[value & 0xFFFF] ^ (value >> 16) for value in half]

    def __call__(self, data):
        byte, half, word = self._byte, self._half, self._word
        register = 0xFFFFFFFF
        words = len(data) // 4
        for value in struct.unpack_from("<%dI" % words, data):
            register ^= value
            register = word[register & 0xFFFF] ^ half[register >> 16]
        for value in data[4 * words:]:
            register = byte[(register ^ value) & 0xFF] ^ (register >> 8)
        return register


def _library_crc():
    """libisal's function, or None where it is absent or does not give the agreed check value."""
    try:
        import ctypes
        function = ctypes.CDLL("libisal.so.2").crc32_iscsi
    except (ImportError, OSError, AttributeError):
        return None
    function.argtypes = [ctypes.c_char_p, ctypes.c_int, ctypes.c_uint]
    function.restype = ctypes.c_uint

    def crc(data):
        return function(data, len(data), 0xFFFFFFFF)

    return crc if crc(CHECK_INPUT) == CHECK_VALUE else None


crc32c = _library_crc() or TableCrc()
