# shellcheck shell=bash
# What exists of the project, and whose it is.
require_lib state/inventory state/lookup state/regions state/comparison state/untagged

# survey [COMMAND…]: finds out the state of everything, and runs the commands at the same time. A state is absent, ours,
# foreign (it exists without the project's tag), hidden (it exists, and we may not read its tags) or elsewhere (it is ours,
# and that of the stack in another region).
survey() {
  look_at inventory "$@"
  exists parameter "$ADDRESSES_PARAMETER" || forget_others
}

# Without chats, somebody else may have what bears the names of their function. alerts.sh refuses it once it needs them.
# shellcheck disable=SC2154 # seen_file sets it
forget_others() {
  local kind name
  while read -r kind name; do
    seen_file "$kind" "$name"
    exists "$kind" "$name" || printf absent >"$seen"
  done < <(forwarding)
}

# look_at LISTING [COMMAND…]: the same for what LISTING prints, inventory or a part of it.
look_at() {
  local kind name jobs=()
  while read -r kind name; do
    jobs+=("record_state $kind $name")
  done < <("$1")
  rm -rf "$TEMPORARY/states" && mkdir "$TEMPORARY/states"
  in_parallel "${jobs[@]}" "${@:2}" || exit 1
}

# in_state STATE: prints the "kind name" lines of what is in this state.
in_state() {
  local kind name
  while read -r kind name; do
    [[ $(state_of "$kind" "$name") != "$1" ]] || printf '%s\n' "$kind $name"
  done < <(inventory)
}

state_of() { seen_file "$1" "$2" && [[ ! -e $seen ]] || printf '%s' "$(<"$seen")"; }
exists() { [[ $(state_of "$1" "$2") == ours ]]; }

# created KIND NAME: says so, and records it for what_now.
created() {
  seen_file "$1" "$2"
  [[ -n $dry_run ]] || printf ours >"$seen"
  log "$1 $2: created"
}

# What keep_description kept.
description_of() { seen_file "$1" "$2" && printf '%s' "$(<"$seen.json")"; }

# is_set KIND NAME SETTINGS: whether the survey found it with these settings.
is_set() { has_settings "{\"is\": $3}" "$(description_of "$1" "$2")"; }

record_state() {
  local state=absent
  if read_tag "$1" "$2"; then
    case $REPLY in
      "$PROJECT") state=ours ;;
      AccessDenied*) state=hidden ;;
      *) state=foreign ;;
    esac
    [[ $state != foreign ]] || ! is_marked_untagged "$1" "$2" || state=ours
    [[ $state != ours ]] || ! is_elsewhere "$1" "$2" || state=elsewhere
  fi
  seen_file "$1" "$2"
  printf '%s' "$state" >"$seen"
}
