#!/usr/bin/env bash
# A login for one more compound: the line goes into compounds.conf, the password is printed once, for the gateway's secret file.
#   bash compound.sh SITE [compounds.conf]        then, on each node: copy compounds.conf and `nats-server --signal reload`
set -euo pipefail
site=${1:?the id of the site: small letters, digits, -} file=${2:-$(dirname "$0")/compounds.conf}
[[ $site =~ ^[a-z0-9][a-z0-9-]*$ ]] || { echo "compound.sh: not an id: $site" >&2; exit 2; }
grep -q "user: \"$site\"" "$file" && { echo "compound.sh: $site is in $file already" >&2; exit 3; }
password=$(openssl rand -hex 24)
line="      { user: \"$site\", password: \"$password\", permissions: { publish: \"gatehouse.$site.>\", subscribe: [\"city.$site\", \"city.$site.>\", \"\$MQTT.sub.>\"] } }"
new=$(mktemp "$file.XXXXXX")
trap 'rm -f "$new"' EXIT
awk -v line="$line" '{ print } /# ---- compounds ----/ { print line }' "$file" >"$new"
chmod 600 "$new"
mv "$new" "$file"
printf '%s\n' "$password"
