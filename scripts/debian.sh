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
    local missing=() name log
    for name in "$@"; do
        [[ $(dpkg-query --show --showformat '${db:Status-Status}' "$name" 2>/dev/null) == installed ]] || missing+=("$name")
    done
    [[ ${#missing[@]} -gt 0 ]] || return 0
    say "installing ${missing[*]} with apt-get"
    log=$(mktemp)
    # Lists that are there may do, and save the download; a mirror that moved on wants new ones.
    if ! { apt_install "${missing[@]}" || { apt-get update && apt_install "${missing[@]}"; }; } >"$log" 2>&1 </dev/null; then
        fail 4 "${missing[*]} could not be installed" "apt-get: $(tail -n 3 "$log" | tr '\n' ' ') (whole log: $log)" \
            "apt-get update && apt-get install ${missing[*]}"
    fi
    rm "$log"
}
apt_install() {
    DEBIAN_FRONTEND=noninteractive apt-get --option DPkg::Lock::Timeout=300 install --yes --no-install-recommends "$@"
}

# debian_sources SUITE: a sources.list for Debian's SUITE, its updates and security: from TRIMTAB_DEBIAN_MIRROR, or the
# places where this machine has its own suite from. Prints nothing when it has none (Ubuntu).
debian_sources() {
    local id codename
    id=$(. /etc/os-release && echo "$ID")
    codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
    if [[ ${TRIMTAB_DEBIAN_MIRROR:-} ]]; then
        printf 'deb [signed-by=%s] %s %s main\n' "$DEBIAN_KEYRING" "$TRIMTAB_DEBIAN_MIRROR" "$1"
    elif [[ $id == debian ]]; then
        # shellcheck disable=SC2016  # these are fields of apt and awk
        apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
            awk -v keyring="$DEBIAN_KEYRING" -v codename="$codename" -v suite="$1" '
                $3 == "main" && $1 ~ /^https?:/ && $2 ~ "^" codename "(-updates|-security)?$" && !seen[$1 $2]++ {
                    print "deb [signed-by=" keyring "] " $1 " " suite substr($2, length(codename) + 1) " main" }'
    fi
}
