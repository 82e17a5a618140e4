# The whole way on the board, then what hurts: a kill, an allocation beyond the limit, a neighbour with much memory.
. jobs/lib.sh
step profile neuroflux profile --model model.json --batch 8 -o profile.json
planned="--model model.json --batch 8 --epochs 2 --profile profile.json --data data.npz"
step refused neuroflux plan $planned --budget 1MiB --json
least=$(sed -n 's/.*"minimum_bytes": \([0-9]*\).*/\1/p' steps/refused.out)
step plan neuroflux plan $planned --budget $least -o plan.json
step run neuroflux run plan.json --data data.npz --out out --quiet --json
step report neuroflux report out
step evaluate neuroflux evaluate out --data data.npz --json

neuroflux run plan.json --data data.npz --out stopped --checkpoint-seconds 0 --quiet > stopped.log 2>&1 &
run=$!
until [ "$(cat stopped/memory.jsonl 2> /dev/null | wc -l)" -ge 3 ]; do
    kill -0 $run || break
    sleep 0.2
done
kill -KILL $run; wait $run
echo $? > stopped.code
ls stopped > stopped.files
step resumed neuroflux run plan.json --data data.npz --out stopped --resume --quiet --json
step same cmp out/model.safetensors stopped/model.safetensors

step guard-tight python3 jobs/guard.py tight

# beside NAME BYTES: run beside a neighbour that leaves so much
beside() {
    python3 jobs/ballast.py $2 $1.ballast &
    neighbour=$!
    until [ -e $1.ballast ]; do kill -0 $neighbour || break; sleep 0.5; done
    step $1 neuroflux run plan.json --data data.npz --out $1.run --max-steps 3 --quiet --json
    step $1-neighbour kill -0 $neighbour
    kill $neighbour; wait $neighbour
}
beside ample $((least * 11 / 10))
beside scarce $((least - 40 * 1024 * 1024))
step doctor neuroflux doctor --json
