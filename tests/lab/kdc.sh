#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A real Kerberos domain controller (MIT krb5kdc) for tests: realm VMR.TEST and a second one,
# OTHER.TEST, that nobody trusts. Everything lies in DIR.
#
#   kdc.sh up DIR [ADDRESS]    make the realms, start on a free port of ADDRESS (default 127.0.0.1)
#   kdc.sh prepare DIR [ADDRESS]; kdc.sh run DIR; kdc.sh wait DIR
#                              the same in steps: "run" is the controller itself and does not return
#   kdc.sh down DIR            stop it; the files stay. "start" starts it again
#   kdc.sh service DIR HOST KEYTAB [SERVICE...]   keys of SERVICE/HOST (default HTTP WSMAN) in both
#                              realms; KEYTAB gets those of VMR.TEST only
#   kdc.sh service-other DIR HOST KEYTAB [SERVICE...]   the same; KEYTAB gets those of OTHER.TEST
#   kdc.sh user DIR NAME       a user with the password "secret of NAME", in both realms
#   kdc.sh login DIR NAME CACHE [KINIT OPTIONS...]    a ticket of VMR.TEST
#   kdc.sh login-other DIR NAME CACHE                 one of OTHER.TEST
#
# Programs find it through KRB5_CONFIG=DIR/krb5.conf, those of the other realm through
# DIR/other.conf. Clocks may differ by 8 seconds: a test can wait for a ticket to expire.
set -euo pipefail

realm=VMR.TEST
other=OTHER.TEST
export PATH=$PATH:/usr/sbin:/sbin

die() {
    echo "kdc: $*" >&2
    exit 1
}

krb5_conf() {
    cat <<CONF
[libdefaults]
    default_realm = $1
    dns_lookup_kdc = false
    dns_lookup_realm = false
    dns_canonicalize_hostname = false
    rdns = false
    clockskew = 8
    udp_preference_limit = 1
[realms]
    $realm = {
        kdc = $address:$port
    }
    $other = {
        kdc = $address:$port
    }
CONF
}

free_port() {
    /usr/bin/python3 -c 'import socket, sys
s = socket.socket()
s.bind((sys.argv[1], 0))
print(s.getsockname()[1])' "$address"
}

kadmin() {
    local r=$1
    shift
    kadmin.local -r "$r" "$@" >>"$dir/kadmin.log" 2>&1 || die "kadmin.local $*: $(tail -n 3 "$dir/kadmin.log")"
}

answers() {
    KRB5_CONFIG=$dir/krb5.conf kinit -c "$dir/probe.cc" -k -t "$dir/probe.keytab" probe >/dev/null 2>"$dir/probe.log"
}

prepare() {
    address=${1:-127.0.0.1}
    port=$(free_port)
    local r
    krb5_conf $realm >"$dir/krb5.conf"
    krb5_conf $other >"$dir/other.conf"
    {
        echo "[kdcdefaults]"
        echo "    kdc_listen = $address:$port"
        echo "    kdc_tcp_listen = $address:$port"
        echo "[realms]"
        for r in $realm $other; do
            cat <<CONF
    $r = {
        database_name = $dir/$r.db
        key_stash_file = $dir/$r.stash
        acl_file = $dir/none.acl
        supported_enctypes = aes256-cts-hmac-sha1-96:normal aes128-cts-hmac-sha1-96:normal
        kdc_listen = $address:$port
        kdc_tcp_listen = $address:$port
    }
CONF
        done
        echo "[logging]"
        echo "    kdc = FILE:$dir/kdc.log"
    } >"$dir/kdc.conf"
    for r in $realm $other; do
        kdb5_util -r "$r" create -s -P "master of $r" >>"$dir/kadmin.log" 2>&1 || die "$(tail -n 3 "$dir/kadmin.log")"
    done
    kadmin $realm addprinc -randkey probe
    kadmin $realm ktadd -k "$dir/probe.keytab" probe
}

wait_up() {
    local end=$((SECONDS + 60))
    until answers; do
        [ $SECONDS -lt $end ] || die "it does not answer: $(cat "$dir/probe.log")"
        sleep 0.1
    done
}

start() {
    krb5kdc -P "$dir/kdc.pid" -r $realm -r $other >"$dir/kdc.out" 2>&1 || die "$(cat "$dir/kdc.out")"
    wait_up
}

up() {
    prepare "$@"
    start
}

down() {
    local pid end=$((SECONDS + 30))
    pid=$(cat "$dir/kdc.pid" 2>/dev/null) || return 0
    kill "$pid" 2>/dev/null || return 0
    while kill -0 "$pid" 2>/dev/null; do
        [ $SECONDS -lt $end ] || die "it does not end"
        sleep 0.05
    done
    rm -f "$dir/kdc.pid"
}

service() {
    local r=$1 host=$2 keytab=$3 s
    shift 3
    [ $# -gt 0 ] || set -- HTTP WSMAN
    for s in "$@"; do
        if [ -z "$(kadmin.local -r "$realm" listprincs "$s/$host" 2>/dev/null)" ]; then
            kadmin $realm addprinc -randkey "$s/$host"
            kadmin $other addprinc -randkey "$s/$host"
        fi
        kadmin "$r" ktadd -k "$keytab" "$s/$host"
    done
}

login() {
    local conf=$1 name=$2 cache=$3
    shift 3
    echo "secret of $name" | KRB5_CONFIG=$dir/$conf kinit -c "$cache" "$@" "$name" >/dev/null
}

[ $# -ge 2 ] || {
    sed -n '3,/^set -e/{/^set -e/d;s/^# \{0,1\}//;p}' "$0" >&2
    exit 2
}
command=$1
mkdir -p "$2"
dir=$(cd "$2" && pwd -P)
shift 2
export KRB5_KDC_PROFILE=$dir/kdc.conf KRB5_CONFIG=$dir/krb5.conf
case $command in
up) up "$@" ;;
prepare) prepare "$@" ;;
run) exec krb5kdc -n -r $realm -r $other >"$dir/kdc.out" 2>&1 ;;
wait) wait_up ;;
start) start ;;
down) down ;;
service) service $realm "$@" ;;
service-other) service $other "$@" ;;
user)
    kadmin $realm addprinc -pw "secret of $1" "$1"
    kadmin $other addprinc -pw "secret of $1" "$1"
    ;;
login) login krb5.conf "$@" ;;
login-other) login other.conf "$@" ;;
*) die "unknown command '$command'" ;;
esac
