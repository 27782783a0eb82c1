#!/bin/sh
# The job monitor and an example job that reports to it; `make run` builds the dashboard first. Ctrl-C ends both.
#
# Every setting of the job monitor can be given through its variable, such as JOB_MONITOR_LISTEN; see
# docs/job-monitor.md.
set -eu
cd "$(dirname "$0")/.."

scripts/tools.sh cargo
if [ ! -f dashboard/dist/index.html ]; then
    echo "the dashboard is not built yet; run: make dashboard" >&2
    exit 1
fi

echo "building the job monitor and the example job (some minutes, the first time)"
cargo build --profile quick --features job-monitor --bin job-monitor --example scrape
target=${CARGO_TARGET_DIR:-target}

work=$(mktemp -d)
monitor=
crawl=
finish() {
    trap - EXIT INT TERM
    # A Ctrl-C has reached them already; a SIGTERM to this script has not.
    for process in $crawl $monitor; do kill "$process" 2>/dev/null || true; done
    wait 2>/dev/null || true
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 0' INT TERM

"$target/quick/job-monitor" >"$work/printed" &
monitor=$!
# It prints its address once it listens; it ends, having said why, when it cannot.
until grep -q '^$' "$work/printed" && grep -q '^  Dashboard' "$work/printed"; do
    kill -0 "$monitor" 2>/dev/null || { wait "$monitor" || exit $?; }
    sleep 0.1
done
cat "$work/printed"
SCRAPE_TOKEN=$(sed -n 's/^  Publisher token *//p' "$work/printed")
if [ -z "$SCRAPE_TOKEN" ]; then # a secret is configured, so it printed none
    SCRAPE_TOKEN=$("$target/quick/job-monitor" token --subject example --jobs "" --publish "*")
    echo "  Viewer token     $("$target/quick/job-monitor" token --subject viewer)"
fi
export SCRAPE_TOKEN
url=$(sed -n 's/^  Dashboard *\(http:[^#]*\).*/\1/p' "$work/printed")

number=1
while :; do
    echo
    echo "The example job crawl-$number crawls a small shop for about half a minute: open the dashboard's address above."
    "$target/quick/examples/scrape" --monitor "$url" --job "crawl-$number" &
    crawl=$!
    wait "$crawl" || echo "the example job failed"
    crawl=
    number=$((number + 1))
    if [ ! -t 0 ]; then
        echo "The job monitor goes on; Ctrl-C ends it."
        wait "$monitor"
        exit $?
    fi
    echo "Enter starts another example job; Ctrl-C ends everything."
    read -r _ || { wait "$monitor"; exit $?; }
done
