"""Reads the archive at each path that comes in on stdin, and prints a line of JSON with what Python finds in it."""
import base64
import hashlib
import json
import resource
import signal
import sys
import tarfile
import zipfile

MOST = 8 << 20  # bytes read of one member; none of the test's own is as large
MEMORY = 1 << 30  # bytes
LONGEST = 1 << 20  # bytes of a name
PATIENCE = 20  # seconds of CPU for one archive, before it is said to hang


def digest(f):
    h, left = hashlib.md5(), MOST
    while left > 0 and (piece := f.read(min(left, 1 << 16))):
        h.update(piece)
        left -= len(piece)
    return h.hexdigest()


def zip_name(info):
    """The name's bytes in UTF-8. Without the UTF-8 flag Python reads code page 437; makers on Unix and macOS mean UTF-8."""
    if not info.flag_bits & 0x800 and info.create_system in (3, 19):
        raw = info.filename.encode("cp437")
        try:
            raw.decode("utf-8")
            return raw
        except UnicodeDecodeError:
            pass
    return info.filename.encode("utf-8", "surrogateescape")


def read_zip(path, found):
    errors = []
    with zipfile.ZipFile(path) as z:
        for info in z.infolist():
            if info.is_dir():
                continue
            try:
                with z.open(info) as f:
                    found(zip_name(info), digest(f))
            except Exception as e:  # one member, of which there are others
                errors.append(f"{type(e).__name__}: {e}")
    return "; ".join(errors)


def read_tar(path, found):
    with tarfile.open(path) as t:
        for m in t:
            name = m.name.encode("utf-8", "surrogateescape")
            if m.isreg() or m.islnk():
                f = t.extractfile(m)
                found(name, digest(f) if f else "nothing")
            elif not m.isdir() and m.type != b"V":  # a volume label is no member
                found(name, "type " + repr(m.type))


def read(path):
    files = []

    def found(name, md5):
        if len(name) > LONGEST:
            raise ValueError(f"a name of {len(name)} bytes")
        files.append({"name": base64.b64encode(name).decode(), "md5": md5})

    with open(path, "rb") as f:
        is_zip = f.read(2) == b"PK"
    signal.setitimer(signal.ITIMER_VIRTUAL, PATIENCE)
    try:
        error = (read_zip if is_zip else read_tar)(path, found)
    except Exception as e:
        error = f"{type(e).__name__}: {e}"
    signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    return {"files": files, "error": (error or "")[:LONGEST]}


def hangs(*_):
    raise TimeoutError("hangs")


resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
signal.signal(signal.SIGVTALRM, hangs)
for line in sys.stdin:
    try:
        text = json.dumps(read(line.rstrip("\n")))
    except MemoryError:
        text = '{"files": [], "error": "MemoryError"}'
    print(text, flush=True)
