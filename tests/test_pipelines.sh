#!/bin/bash
# test_pipelines.sh -- whole tiny models from prompt or class to picture, as a user draws with them, against what diffusers' own
# pipelines and the authors' code made of the same weights and seed (tests/oracle/pipelines.py, task_pipelines.py,
# authors_pipelines.py): final latents within 2e-3, pictures within one level; and each run again with one thing wrong, which must
# be 20 times as far away, as must what the witness makes of wrongs that are no option (times one higher, another convention).
suite=pipelines one_sentence=yes
. "$(dirname "$0")/check.sh"
export XDG_DATA_HOME=$dir/data
families=("$fixtures"/pipeline_*)
[ $# = 0 ] || families=("${@/#/$fixtures/}") # those named
tolerance=2e-3 far=0.04

# A line a run: name, what is wrong about it or "right", the scheduler's file or "-", the arrays that a right one must be far from
# or "-", and the options after that, in tabs.
jobs_of() {
    python3 - "$1" <<'PY'
import json, sys
folder = sys.argv[1]
book = json.load(open(folder + "/fixture.json"))
count = 0
for run in book["runs"]:
    for what, how in [("right", {})] + list(run["wrong"].items()):
        scheduler = how.get("scheduler", run.get("scheduler"))
        file = "-"
        if scheduler:
            file = f"scheduler-{count}.json"
            count += 1
            bare = {k: float(v) if v == "-Infinity" else v for k, v in scheduler.items()}  # as diffusers writes it
            json.dump(bare, open(file, "w"))
        options = book["options"] + run["options"] + how.get("options", [])
        unlike = " ".join(f"{run['name']}_{other}.npy" for other in run.get("unlike", {}))
        print("\t".join([run["name"], what, file, unlike or "-"] + [folder + "/" + o[1:] if o[0] == "@" else o for o in options]))
PY
}

agree() { # agree NAME WANT GOT: two folders of pictures
    check "$1: pictures" 0 "" "$ldm" eval "$2" "$3" --json
    expect "$1: no byte of them is two away" python3 -c "
import json
all = json.load(open('out.txt'))['pictures']
assert len(all) > 1 and max(p['worst'] for p in all) <= 1, [(p['name'], p['worst']) for p in all]"
}

for from in "${families[@]}"; do
    family=${from##*/}
    if [ -d "$from/model" ]; then
        cp -rL "$from/model" "$family"
        model=(-m "$family")
    else
        model=(-m "$(ls "$from"/model.*)" --config "$from/config.yaml")
    fi
    mkdir -p "want-$family" "got-$family"
    jobs_of "$from" >jobs.txt
    expect "$family: there is something to run" test "$(grep -c right jobs.txt)" -gt 1
    while IFS=$'\t' read -r -a job; do
        name=${job[0]} what=${job[1]}
        [ "${job[2]}" = - ] || cp "${job[2]}" "$family/scheduler/scheduler_config.json"
        rm -f z.npy
        check "$family $name, $what" 0 "" "$ldm" gen "${model[@]}" "${job[@]:4}" -o p.png --save-latent z.npy
        if [ "$what" = right ]; then
            check "$family $name: the witness's latent" 0 "" "$ldm" diff z.npy "$from/${name}_latent.npy" --max $tolerance
            cp p.png "got-$family/$name.png" && cp "$from/$name.png" "want-$family/"
            for other in ${job[3]#-}; do
                check "$family $name: is not $other" 3 "" "$ldm" diff z.npy "$from/$other" --max $far
            done
        else
            check "$family $name: another $what is told apart" 3 "" "$ldm" diff z.npy "$from/${name}_latent.npy" --max $far
        fi
    done <jobs.txt
    agree "$family" "want-$family" "got-$family"
done

# The witness's codes make its pictures; the encoder's codes of a photograph are the witness's, where its latent is further from
# another codeword than it may be off.
from=$fixtures/pipeline_uncond
mkdir -p want-codes got-codes
for name in ddim ddim_eta1; do
    check "codes of $name" 0 "" "$ldm" decode -m "$from/model.ckpt" -i "$from/${name}_codes.npy" --codes -o "got-codes/$name.png"
    cp "$from/$name.png" want-codes
done
agree codes want-codes got-codes
check "codes of a photograph" 0 "" "$ldm" encode -m "$from/model.ckpt" -i "$from/photo.png" --codes -o codes.npy
expect "... are the witness's" python3 - codes.npy "$from" $tolerance <<'PY'
import struct, sys
def values(path, kind):
    d = open(path, "rb").read()
    at = 10 + struct.unpack("<H", d[8:10])[0]
    return struct.unpack(f"<{(len(d) - at) // 4}{kind}", d[at:])
ours, witness = values(sys.argv[1], "i"), values(sys.argv[2] + "/photo_codes.npy", "i")
sure = [s > float(sys.argv[3]) for s in values(sys.argv[2] + "/photo_slack.npy", "f")]
wrong = [i for i, s in enumerate(sure) if s and ours[i] != witness[i]]
moved = sum(s and ours[i - 1] != witness[i] for i, s in enumerate(sure))
assert len(ours) == len(witness) == 64 and sum(sure) > 57 and len(set(ours)) > 5 and moved > 20 and not wrong, (wrong, sum(sure), moved)
PY

closing
