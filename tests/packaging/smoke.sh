#!/usr/bin/env bash
# The installed wheel as its user meets it: [SMOKE_DEMO=no] smoke.sh BIN WHEEL, run outside the checkout.
set -euo pipefail
bin=$1
wheel=$2
"$bin/python" - "$wheel" <<'P'
import sys, zipfile
names = zipfile.ZipFile(sys.argv[1]).namelist()
tops = {n.split("/")[0] for n in names}
tops = {t for t in tops if not t.endswith(".dist-info")}
assert tops == {"pulsar", "pulsar_kernels"}, tops
for preset in ("default", "fast-19beam", "fast-crafts-drift", "fast-gpps", "fast-gc", "parkes-multibeam"):
    assert f"pulsar/config/presets/{preset}.toml" in names, preset
for path in ("pulsar/py.typed", "pulsar_kernels/py.typed"):
    assert path in names, path
# What only developers use stays in benchmarks/: other programs beside ours, the zoo of interference.
strangers = [n for n in names if n.rsplit("/", 1)[-1] in ("programs.py", "zoo.py")]
assert not strangers, strangers
assert not [n for n in names if n.startswith(("benchmarks/", "tests/", "docs/"))], names
import pulsar
assert "site-packages" in pulsar.__file__, pulsar.__file__
P
"$bin/pulsar" --version
"$bin/pulsar" --help >/dev/null
"$bin/pulsar" simulate one.fil --nchans 64 --tobs 20 --tsamp 256e-6 --period 0.0253 --dm 60 --snr 30 --seed 1
"$bin/pulsar" info one.fil
"$bin/pulsar" plan one.fil --dm 0 100 >/dev/null
# A search of every kind: power spectra, acceleration, fast folding, single pulses, folds.
"$bin/pulsar" search one.fil --dm 0 100 --zmax 20 --out one.h5
"$bin/pulsar" candidates one.h5 --top 3 --format csv | tee top.csv
"$bin/python" - <<'P'
import csv
best = next(csv.DictReader(open("top.csv")))
assert abs(float(best["period"]) / 0.0253 - 1) < 1e-4, best
assert abs(float(best["dm"]) - 60) < 3, best
P
"$bin/pulsar" report one.h5 --out report
grep -q pulsarLabels report/index.html # the scripts of the page are in the wheel
# The first command of the README.
if [ "${SMOKE_DEMO:-yes}" = yes ]; then "$bin/pulsar" demo --quiet --out demo >/dev/null; fi
echo "the wheel works"
