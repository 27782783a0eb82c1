#!/bin/sh
# Makes sure that the named tools are there: installs what Debian's packages hold when run as root, and otherwise
# says exactly what is missing.
set -eu

fail() {
    echo "missing: $1" >&2
    exit 1
}

debian() { # packages, command, what shows that it works (default: that it is there)
    works=${3:-command -v "$2"}
    eval "$works" >/dev/null 2>&1 && return 0
    if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null 2>&1; then
        echo "installing $1 (from Debian)"
        export DEBIAN_FRONTEND=noninteractive
        apt-get install -y -qq --no-install-recommends $1 >/dev/null 2>&1 ||
            { apt-get update -qq && apt-get install -y -qq --no-install-recommends $1 >/dev/null; } ||
            fail "$2; installing from Debian failed, run: apt-get install $1"
    fi
    eval "$works" >/dev/null 2>&1 || fail "$2; as root run: apt-get install $1"
}

links() { # whether cc links a program, for which cargo needs it: libc's own files come in a package of their own
    program=$(mktemp)
    linked=0
    echo 'int main(void) { return 0; }' | cc -x c -o "$program" - || linked=1
    rm "$program"
    return "$linked"
}

# Only the program: Debian's package would also start a server, now and at each start of the machine.
without_service() { # service, package, command
    PATH=$PATH:/usr/sbin command -v "$3" >/dev/null 2>&1 && return 0
    if [ "$(id -u)" -eq 0 ] && [ -d /run/systemd/system ]; then
        systemctl mask --quiet "$1.service"
        echo "$1's own service is masked; to have it run: systemctl unmask $1"
    fi
    (
        PATH=$PATH:/usr/sbin
        export RUNLEVEL=1 # where there is no systemd, Debian's scripts start nothing in run level 1
        debian "$2" "$3"
    )
}

python_with_venv() {
    debian python3 python3
    python3 -c "import ensurepip, venv" 2>/dev/null && return 0
    [ "$(id -u)" -ne 0 ] || apt-get install -y -qq --no-install-recommends python3-venv >/dev/null 2>&1 || true
    python3 -c "import ensurepip, venv" 2>/dev/null || fail "Python's modules venv and pip; as root run: apt-get install python3-venv"
}

for tool in "$@"; do
    case $tool in
    cargo)
        command -v cargo >/dev/null 2>&1 || fail "cargo, Rust 1.95 or newer; see https://rustup.rs"
        cargo fmt --version >/dev/null 2>&1 || fail "rustfmt; run: rustup component add rustfmt"
        cargo clippy --version >/dev/null 2>&1 || fail "clippy; run: rustup component add clippy"
        debian "gcc libc6-dev" "a C compiler that links programs (cc)" links
        ;;
    node)
        command -v node >/dev/null 2>&1 && command -v npm >/dev/null 2>&1 || fail "Node.js 20 or newer with npm"
        major=$(node -p 'process.versions.node.split(".")[0]')
        [ "$major" -ge 20 ] || fail "Node.js 20 or newer (this is $(node --version))"
        ;;
    chromium) debian chromium chromium ;;
    nginx) without_service nginx nginx-light nginx ;;
    python) python_with_venv ;;
    redis) without_service redis-server redis-server redis-server ;;
    *) fail "a rule for the tool $tool in scripts/tools.sh" ;;
    esac
done
