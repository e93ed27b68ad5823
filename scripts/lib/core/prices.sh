# shellcheck shell=bash
# Prices, from scripts/resources/prices.json (us-east-1, in US dollars).

# price NAME: prints it as the file has it.
price() {
  local found
  found=$(sed -n "s/.*\"$1\": *\([0-9.]*\).*/\1/p" "$SCRIPTS/resources/prices.json")
  printf '%s' "${found:?no price $1 in prices.json}"
}

# dollars DECIMALS FACTOR…: prints the product of the factors.
dollars() {
  local decimals=$1
  shift
  awk -v decimals="$decimals" 'BEGIN {
    product = 1
    for (i = 1; i < ARGC; i++) product *= ARGV[i]
    printf "%.*f", decimals, product
  }' "$@" </dev/null
}
