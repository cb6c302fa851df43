"""Decodes DEFLATE streams with zlib.

Each comes in on stdin behind its length, four bytes, the lowest first. For each a line goes out: what zlib says ("whole", "broken", "cut",
or "long" where there is more text than MOST), the text's length and CRC-32, and the number of bytes behind the stream's end.
"""
import struct
import sys
import zlib

MOST = int(sys.argv[1])


def outcome(stream):
    decoder, text, verdict = zlib.decompressobj(-15), b"", "cut"
    try:
        text = decoder.decompress(stream, MOST)
        if decoder.eof:
            verdict = "whole"
        elif len(text) == MOST and decoder.decompress(decoder.unconsumed_tail, 1):
            verdict = "long"
        elif decoder.eof:
            verdict = "whole"
    except zlib.error:
        verdict = "broken"
    return "%s %d %d %d" % (verdict, len(text), zlib.crc32(text), len(decoder.unused_data))


while head := sys.stdin.buffer.read(4):
    print(outcome(sys.stdin.buffer.read(struct.unpack("<I", head)[0])), flush=True)
