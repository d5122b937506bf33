# shellcheck shell=bash
# What the scripts know about Debian and Ubuntu; sourced by them after say.sh, never run. Mirrors come from the
# machine's own apt sources and are never named here.

# shellcheck disable=SC2034  # read by the scripts that source this file
DEBIAN_KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg

# Root's PATH lacks these after a plain su; dockerd and debootstrap live there.
PATH=$PATH:/usr/sbin:/sbin

is_debian_like() { [[ -e /etc/debian_version ]] && command -v apt-get >/dev/null; }

# room_for FOLDER GIB PURPOSE: refuse before anything is written when the disk is too full.
room_for() {
    local folder=$1 free_gib
    while [[ ! -d $folder ]]; do folder=$(dirname "$folder"); done
    free_gib=$(($(df --output=avail --block-size=1 "$folder" | tail -n 1) >> 30))
    ((free_gib >= $2)) || fail 3 "too little room for $3" "$folder has $free_gib GiB free, it takes $2 GiB" \
        "free some: docker system df, apt-get clean"
}

# install_packages NAME...: install what is missing of them, saying so first. Needs root.
install_packages() {
    local missing=() name
    for name in "$@"; do dpkg-query --show --showformat '${db:Status-Status}' "$name" 2>/dev/null | grep -qx installed || missing+=("$name"); done
    [[ ${#missing[@]} -gt 0 ]] || return 0
    say "installing ${missing[*]} with apt-get"
    local log
    log=$(mktemp)
    if ! { DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends "${missing[@]}" ||
        { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends "${missing[@]}"; }; } \
        >"$log" 2>&1 </dev/null; then
        local why
        why=$(tail -n 5 "$log" | tr '\n' ' ')
        rm "$log"
        fail 4 "${missing[*]} could not be installed" "apt-get: $why" "apt-get update && apt-get install ${missing[*]}"
    fi
    rm "$log"
}

# The repositories of Debian's own archive in this machine's sources: "URI RELEASE" lines.
debian_repositories() {
    apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' 2>/dev/null |
        awk '$3 == "main" && $1 ~ /^https?:/ && !seen[$1 $2]++ { print $1, $2 }'
}

# debian_mirror SUITE: the mirror of Debian's main archive: TRIMTAB_DEBIAN_MIRROR, or what this machine uses. Prints
# nothing when the machine names none (Ubuntu): debootstrap then uses its own default.
debian_mirror() {
    if [[ ${TRIMTAB_DEBIAN_MIRROR:-} ]]; then
        echo "$TRIMTAB_DEBIAN_MIRROR"
        return
    fi
    local id codename
    id=$(. /etc/os-release && echo "$ID")
    codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
    [[ $id == debian ]] || return 0
    debian_repositories | awk -v release="$codename" '$2 == release { print $1; exit }'
}

# debian_sources SUITE MIRROR: a sources.list for SUITE with its updates, from this machine's repositories where they
# name the suite.
debian_sources() {
    debian_repositories | awk -v suite="$1" '$2 == suite || $2 == suite "-updates" || $2 == suite "-security" {
        print "deb", $1, $2, "main" }' | grep . || printf 'deb %s %s main\n' "$2" "$1"
}
