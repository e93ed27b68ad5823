# shellcheck shell=bash
# Marks on disk for what exists before it has its tag. Kinesis and S3 take tags in a second call. The mark is made before
# the first call and removed after the second, so the next run knows an untagged resource that an interrupted run left
# from one of somebody else.

untagged_mark() {
  local account=$ACCOUNT_ID-$AWS_REGION${AWS_ENDPOINT_URL:+-${AWS_ENDPOINT_URL##*/}}
  printf '%s' "$ROOT/.local/unfinished/$account-$1-$2"
}

# forget_untagged: of the emulator, whose resources are gone when it ends.
forget_untagged() { rm -f "$ROOT/.local/unfinished/"*"-${AWS_ENDPOINT_URL##*/}-"*; }

# Each takes KIND NAME.
mark_untagged() { [[ -n $dry_run ]] || { mkdir -p "$ROOT/.local/unfinished" && touch "$(untagged_mark "$1" "$2")"; }; }
unmark_untagged() { [[ -n $dry_run ]] || rm -f "$(untagged_mark "$1" "$2")"; }
is_marked_untagged() { [[ -e $(untagged_mark "$1" "$2") ]]; }
