"""A certificate authority of the stories' own."""
import subprocess

NEW = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]


class Authority:
    """What it signs is (certificate, key), in a folder of its own; `pem` is its own certificate."""

    def __init__(self, folder, name):
        self.folder, self.name = folder / name, name
        self.folder.mkdir()
        (self.folder / "index.txt").touch()
        (self.folder / "serial").write_text("1000")
        (self.folder / "ca.cnf").write_text(f"""
[ca]
default_ca = it
[it]
dir = {self.folder}
database = $dir/index.txt
serial = $dir/serial
new_certs_dir = $dir
certificate = $dir/ca.pem
private_key = $dir/ca.key
default_md = sha256
policy = any
unique_subject = no
copy_extensions = copy
[any]
commonName = supplied
""")
        self.openssl("req", "-x509", *NEW, "-days", "30", "-subj", f"/CN={name}", "-addext", "basicConstraints=critical,CA:TRUE", "-keyout", "ca.key", "-out", "ca.pem")
        self.pem = self.folder / "ca.pem"

    def openssl(self, *words):
        subprocess.run(["openssl", *words], cwd=self.folder, check=True, capture_output=True)

    def signs(self, name, host="IP:127.0.0.1,DNS:localhost", begins="20200101000000Z", ends="20450101000000Z", usage="serverAuth"):
        self.openssl("req", *NEW, "-subj", f"/CN={name}", "-addext", f"subjectAltName={host}", "-addext", f"extendedKeyUsage={usage}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        self.openssl("ca", "-config", "ca.cnf", "-batch", "-notext", "-startdate", begins, "-enddate", ends, "-in", f"{name}.csr", "-out", f"{name}.pem")
        return self.folder / f"{name}.pem", self.folder / f"{name}.key"
