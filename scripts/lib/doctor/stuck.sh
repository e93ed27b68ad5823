# shellcheck shell=bash
# The doctor on what got stuck: rejected records, and batches that Lambda gave up.
require_lib state/survey doctor/findings

# A reject of the last 24 hours is WRONG. After that it is a note for a day: somebody has looked at it, or never will.
check_rejects() {
  local day since times='' counts new old look="each says why: aws s3 cp --recursive s3://$BUCKET_NAME/rejected-data/ rejected/"
  exists bucket "$BUCKET_NAME" || return 0
  since=$(python3 -c 'import datetime as d; print((d.datetime.now(d.UTC) - d.timedelta(1)).isoformat(timespec="seconds")[:19])')
  for day in $(python3 -c 'import datetime as d; t = d.datetime.now(d.UTC).date(); print(t - d.timedelta(1), t)'); do
    call s3api list-objects-v2 --bucket "$BUCKET_NAME" --prefix "rejected-data/dt=$day/" --no-paginate \
      --query 'Contents[].[LastModified]' --output text
    times+=$REPLY$'\n'
  done
  counts=$(awk -v since="$since" '/^[0-9]/ { substr($0, 1, 19) < since ? old++ : new++ }
    END { print new + 0, old + 0 }' <<<"$times")
  read -r new old <<<"$counts"
  if ((new > 0)); then
    wrong "rejected records: $new in the last 24 hours; $look"
  elif ((old > 0)); then
    note "rejected records: none in the last 24 hours, $old before that; $look"
  else
    ok 'rejected records: none since yesterday'
  fi
}

check_failed_batches() {
  exists bucket "$BUCKET_NAME" || return 0
  count_objects aws/lambda/
  if ((REPLY > 0)); then
    wrong "failed batches: $REPLY wait in the bucket: run scripts/redrive.sh"
  else
    ok 'failed batches: none'
  fi
}

# count_objects PREFIX: their number in REPLY, up to 1,000.
count_objects() {
  call s3api list-objects-v2 --bucket "$BUCKET_NAME" --prefix "$1" --no-paginate --query KeyCount --output text
  REPLY=${REPLY/None/0}
}
