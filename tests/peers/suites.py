"""The two pairs of algorithms that evidence may be made by, from other people's libraries: SHA-256 and Ed25519 (`cryptography`), SM3 and SM2 (OpenSSL)."""
import base64
import hashlib
import pathlib
import subprocess
import tempfile

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

HASHES = {"ed25519-sha256": "sha256", "sm2-sm3": "sm3"}
SM2_KEY = bytes.fromhex("3059301306072a8648ce3d020106082a811ccf5501822d034200")  # what stands before the point in a SubjectPublicKeyInfo
named = lambda of, name="alg": of.get(name, "ed25519-sha256")
digest = lambda alg, data: hashlib.new(HASHES[alg], data).digest()
sums = lambda data: {hashlib.new(name, data).hexdigest() for name in HASHES.values()}


def check_signature(alg, public, signature, text):
    public, signature = base64.b64decode(public), base64.b64decode(signature)
    if alg == "ed25519-sha256":
        return Ed25519PublicKey.from_public_bytes(public).verify(signature, text)
    command = "openssl pkeyutl -verify -pubin -keyform DER -rawin -digest sm3 -pkeyopt distid:1234567812345678".split()  # GM/T 0009: who signs
    with tempfile.TemporaryDirectory() as folder:
        for option, body in (("-inkey", SM2_KEY + public), ("-sigfile", signature), ("-in", text)):
            command += [option, path := pathlib.Path(folder, option)]
            path.write_bytes(body)
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
