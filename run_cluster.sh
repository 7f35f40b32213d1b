#!/usr/bin/env bash
# Submits a run to a Ray cluster, from any machine that reaches its head:
#
#   RAY_ADDRESS=http://head:8265 ./run_cluster.sh --anno tasks/anno.json --gen tasks/gen.json --out /shared/results/run1
#
# Everything after the script's name goes to `diffharness run`; without --config it takes configs/cluster.yaml.
# This folder, with the tasks and candidates in it, is uploaded as the job's working folder (100 MiB at most, less what
# .gitignore and .rayignore name). diffharness and its dependencies must be installed on the nodes, and --out must lie on storage
# that the head node keeps. Ctrl-C leaves the job running; `ray job stop ID` ends it cleanly.
#
# PYTHON: the interpreter on the nodes (default: python). RAY: the local ray command.
set -euo pipefail
cd "$(dirname "$0")"

if [ $# -eq 0 ]; then
  sed -n '2,/^set/p' "$0" | sed '$d; s/^# \{0,1\}//'
  exit 2
fi

RAY=${RAY:-$([ -x .venv/bin/ray ] && echo .venv/bin/ray || echo ray)}
PYTHON=${PYTHON:-python}
# Ray 2.60 turns token authentication on wherever a token file lies; both sides must agree.
export RAY_AUTH_MODE=${RAY_AUTH_MODE:-disabled}
export RAY_ADDRESS=${RAY_ADDRESS:-http://127.0.0.1:8265}

# The job runs in a copy of this folder that is thrown away.
case " $* " in
  *" --out /"* | *" --out=/"*) ;;
  *) echo "error: --out must be an absolute path, on storage that the head node keeps" >&2; exit 2 ;;
esac

arguments=("$@")
case " $* " in
  *" --config "* | *" --config="*) ;;
  *) arguments+=(--config configs/cluster.yaml) ;;
esac

exec "$RAY" job submit --working-dir . -- "$PYTHON" -m harness run "${arguments[@]}"
