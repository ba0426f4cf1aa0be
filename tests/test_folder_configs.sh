#!/bin/bash
# test_folder_configs.sh -- what a diffusers folder's schedulers ask for and is not here is refused by name with status 2, before
# anything runs and with no picture written; what means nothing here changes no bit. (What is obeyed: test_samplers, test_pipelines.)
suite=folder_configs one_sentence=yes
. "$(dirname "$0")/check.sh"
export XDG_DATA_HOME=$dir/data
cp -rL "$fixtures/pipeline_sd2/model" sd2 && cp -rL "$fixtures/pipeline_upscale/model" up
gen=("$ldm" gen -p cat --steps 3 -s 1)

# scheduler FOLDER CLASS KEYS: Stable Diffusion's configuration, but for these keys
scheduler() {
    local all="\"_class_name\": \"$2\"${3:+, $3}" key
    for key in '"beta_start": 0.00085' '"beta_end": 0.012' '"beta_schedule": "scaled_linear"' '"prediction_type": "v_prediction"'; do
        [[ $all == *"${key%%:*}"* ]] || all+=", $key"
    done
    echo "{$all}" >"$1/scheduler_config.json"
}
refused() { # refused CLASS KEYS WORDS
    scheduler sd2/scheduler "$1" "$2"
    check "$1, ${2:-of that class}: refused by name" 2 "$3" "${gen[@]}" -m sd2 -W 16 -H 16 -o no.png
    expect "$1, ${2:-of that class}: no picture" test ! -e no.png
}
refused UniPCMultistepScheduler '' UniPCMultistepScheduler
refused FlowMatchEulerDiscreteScheduler '' FlowMatchEulerDiscreteScheduler
refused DDIMScheduler '"thresholding": true' 'thresholding is true'
refused DDIMScheduler '"beta_schedule": "sigmoid"' 'beta_schedule is sigmoid'
refused DDIMScheduler '"trained_betas": [0.1, 0.2]' trained_betas
refused DDIMScheduler '"num_train_timesteps": 500' num_train_timesteps
refused DDIMScheduler '"timestep_spacing": "quadratic"' "timestep_spacing 'quadratic'"
refused DDIMScheduler '"rescale_betas_zero_snr": true, "prediction_type": "epsilon"' rescale_betas_zero_snr
refused DDPMScheduler '"variance_type": "learned_range"' variance_type
refused EulerDiscreteScheduler '"use_beta_sigmas": true' use_beta_sigmas
refused EulerDiscreteScheduler '"use_karras_sigmas": true, "use_exponential_sigmas": true' use_exponential_sigmas
refused EulerDiscreteScheduler '"timestep_type": "continuous"' timestep_type
refused HeunDiscreteScheduler '"prediction_type": "sample"' prediction_type
refused DPMSolverMultistepScheduler '"algorithm_type": "sde-dpmsolver++"' algorithm_type
refused DPMSolverMultistepScheduler '"solver_order": 3' solver_order
refused DPMSolverMultistepScheduler '"use_lu_lambdas": true' use_lu_lambdas

cp -rL "$fixtures/edits/model" small && cp -rL "$fixtures/edits/schedulers/ddim" small/scheduler && rm -r small/tokenizer
check "a tokenizer of more tokens than the text encoder knows" 2 "the tokenizer that is built in has a token 49406, the text encoder knows 0 to" "${gen[@]}" -m small -o no.png
expect "...: no picture" test ! -e no.png

draw() { # draw NAME KEYS
    scheduler sd2/scheduler DDIMScheduler "$2"
    check "$1" 0 "" "${gen[@]}" -m sd2 -W 16 -H 16 -o "$1.png" --save-latent "$1.npy"
}
draw plain ''
draw idle '"thresholding": false, "sample_max_value": 2.0, "dynamic_thresholding_ratio": 0.9, "solver_order": 3'
expect "keys without meaning to the class change no bit" cmp -s plain.npy idle.npy
draw trailing '"timestep_spacing": "trailing"'
expect "one with a meaning does" test "$(cmp -s plain.npy trailing.npy; echo $?)" = 1

# the upscaler's second scheduler, and its levels of noise
up=("${gen[@]}" -m up --upscale "$fixtures/pipeline_upscale/small.png" -o up.png)
check "the upscaler" 0 "" "${up[@]}"
rm -f up.png
check "a level that its network has no label for" 1 "levels are 0 to 63" "${up[@]}" --noise-level 64
check "a level below 0" 1 "levels are 0 to 63" "${up[@]}" --noise-level -1
sed -i 's/scaled_linear/squaredcos_cap_v2/' up/low_res_scheduler/scheduler_config.json
check "its picture noised by another schedule" 2 "low_res_scheduler.*squaredcos_cap_v2" "${up[@]}"
sed -i 's/squaredcos_cap_v2/scaled_linear/; s/DDPMScheduler/EulerDiscreteScheduler/' up/low_res_scheduler/scheduler_config.json
check "its picture noised by another class" 2 "low_res_scheduler.*EulerDiscreteScheduler" "${up[@]}"
expect "no picture then" test ! -e up.png

closing
