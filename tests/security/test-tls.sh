#!/usr/bin/env bash
# test-tls.sh: keys and certificates, and nothing for those who have none.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$(realpath "$0")")/../nbd/functions.sh"

nbdkit --dump-config | grep -qx tls=yes || skip "nbdkit is built without TLS"
requires openssl nbdinfo

make_pool
t create vm1 --size 3M --description "a secret name" >"$work/output"
head -c 3M /dev/urandom >"$work/image"

# refused WHAT URI: no way in, and no names, by any command.
refused() {
    must_fail timeout 20 nbdinfo --size "$2"
    must_fail timeout 20 nbdinfo --list "${2/vm1/}"
    ! grep -q "secret name\|vm1" <(timeout 20 nbdinfo --list "${2/vm1/}" 2>&1 |
        grep -v 'nbd_connect\|nbdinfo:') || fail "$1: the list leaks"
    kill -0 "$server" || fail "$1: the server died"
}

# works URI: what goes in comes out.
works() {
    quietly timeout 60 nbdcopy "$work/image" "$1"
    quietly timeout 60 nbdcopy "$1" "$work/out"
    same "$work/image" "$work/out" "over TLS"
}

plain="nbd+unix:///vm1?socket=$socket"

proves "PSK: who has the key comes in; others do not, nor does plain text"
# What psktool makes: a name and random hexadecimal digits.
key() { echo "$1:$(head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n')"; }
mkdir "$work/psk" "$work/other-psk"
key alice >"$work/psk/keys.psk"
{ key alice && key mallory; } >"$work/other-psk/keys.psk"
chmod 600 "$work"/*/keys.psk
with_key() { echo "nbds+unix://$1@/vm1?socket=$socket&tls-psk-file=$work/$2/keys.psk"; }
listen=(-U "$socket" --tls=require --tls-psk="$work/psk/keys.psk")
start_server "$pool"
works "$(with_key alice psk)"
refused "plain text" "$plain"
refused "another key" "$(with_key alice other-psk)"
refused "another name" "$(with_key mallory other-psk)"
expect size 3145728 "$(nbdinfo --size "$(with_key alice psk)")"
stop_server

proves "certificates: whose the authority knows come in; others do not"
# authority FOLDER; signed FOLDER NAME COMMON-NAME
authority() {
    mkdir "$1"
    quietly openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj "/CN=$1" \
        -addext keyUsage=keyCertSign -keyout "$1/ca-key.pem" -out "$1/ca-cert.pem"
}
signed() {
    quietly openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$3" -keyout "$1/$2-key.pem" \
        -out "$1/$2.csr"
    printf 'subjectAltName=DNS:%s\n' "$3" >"$1/ext"
    quietly openssl x509 -req -days 2 -in "$1/$2.csr" -CA "$1/ca-cert.pem" \
        -CAkey "$1/ca-key.pem" -set_serial 0x"$(head -c 8 /dev/urandom | od -An -tx1 |
            tr -d ' \n')" -extfile "$1/ext" -out "$1/$2-cert.pem"
}
cd "$work"
authority pki
signed pki server localhost
signed pki client alice
authority other
signed other client mallory
cp pki/ca-cert.pem other/known-ca.pem
mkdir nothing
cp pki/ca-cert.pem nothing/
# Mallory believes in the server's authority; it does not in hers.
mkdir mallory
cp pki/ca-cert.pem other/client-cert.pem other/client-key.pem mallory/
cd - >/dev/null
with_certificate() { echo "nbds+unix:///vm1?socket=$socket&tls-certificates=$work/$1"; }
listen=(-U "$socket" --tls=require --tls-certificates="$work/pki" --tls-verify-peer)
start_server "$pool"
works "$(with_certificate pki)"
refused "plain text" "$plain"
refused "no certificate" "$(with_certificate nothing)"
refused "another authority's" "$(with_certificate mallory)"
refused "a server that the client does not know" "$(with_certificate other)"

proves "bytes that are no TLS, after the server agreed to it"
/usr/bin/python3 - "$socket" <<'END'
import os, socket, struct, sys
for i in range(40):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(0.2)
    s.connect(sys.argv[1])
    s.recv(18)
    s.sendall(struct.pack(">IQII", 3, 0x49484156454F5054, 5, 0))
    assert s.recv(20)
    try:
        if i % 2:
            s.sendall(bytes([22, 3, 1]) + os.urandom(2) + os.urandom(100 * i))
        if i % 4 == 3:
            s.recv(1000)
    except OSError:
        pass
    s.close()
END
works "$(with_certificate pki)"
stop_server
pool_is_well
