#!/bin/bash
# test_convert.sh -- models in every layout as a user meets them: folders that diffusers wrote, held to what diffusers makes of the
# same inputs; converted there and back with the same bytes coming out of every network; and folders and configurations that
# are wrong, each refused with one sentence and nothing left behind. LDM names the tool.
suite=convert one_sentence=yes
. "$(dirname "$0")/check.sh"
layouts=$tests/fixtures/layouts emoji=$tests/data/emoji-ldm
export XDG_DATA_HOME=$dir/data

# ---- as diffusers wrote them: shards, .bin, .fp16., older names of attention
# run MODEL FOLDER OUT: every network of a model on the inputs in a fixture's folder
run() {
    local e=$layouts/$2/expected
    check "$2 UNet of $1" 0 "run 1" "$ldm" run unet -m "$1" --in x="$e/x.npy" --in t="$e/t.npy" $([ -e "$e/context.npy" ] && echo --in context="$e/context.npy") -o "$3-y.npy"
    check "$2 decoder of $1" 0 "run 1" "$ldm" run decoder -m "$1" --in z="$e/z.npy" -o "$3-picture.npy"
    [ ! -e "$e/ids.npy" ] || check "$2 text encoder of $1" 0 "run 1" "$ldm" run text -m "$1" --in ids="$e/ids.npy" -o "$3-context.npy"
}
same() { # same NAME A B: what all networks made, byte by byte
    local f
    for f in "$2"-*.npy; do
        if cmp -s "$f" "$3${f#"$2"}"; then passed=$((passed + 1)); else echo "FAIL $suite: $1: $f and $3${f#"$2"} differ"; failed=$((failed + 1)); fi
    done
}
for model in sd ldm; do
    run "$layouts/$model" $model $model
    for f in $model-*.npy; do
        check "$f as diffusers has it" 0 "" "$ldm" diff "$f" "$layouts/$model/expected/${f#"$model"-}" --max 1e-5
    done
done
check "a changed weight would be seen" 3 "" "$ldm" diff sd-y.npy "$layouts/sd/expected/x.npy" --max 1e-5
check "info of a folder" 0 "text encoder  73984 parameters in 36 tensors, f16, diffusers names" "$ldm" info "$layouts/sd"
check "its scheduler" 0 "PNDMScheduler" "$ldm" info "$layouts/sd"
check "VQ models have no scale, whatever the class's default says" 0 "scale factor  1 " "$ldm" info "$layouts/ldm"

# ---- there and back
check "to the authors' layout" 0 "" "$ldm" convert "$layouts/sd" sd.safetensors --to compvis
expect() { if "${@:2}"; then passed=$((passed + 1)); else echo "FAIL $suite: $1"; failed=$((failed + 1)); fi; }
expect "a configuration beside it" grep -q "num_heads: 4" sd.yaml
run sd.safetensors sd compvis && same "compvis" sd compvis
check "and back" 0 "" "$ldm" convert sd.safetensors sd-folder --to diffusers
run sd-folder sd back && same "diffusers again" sd back
check "in f32" 0 "" "$ldm" convert sd-folder sd-f32 --dtype f32
run sd-f32 sd wide && same "f32 of f16" sd wide
check "in f32, from the folder" 0 "" "$ldm" convert "$layouts/sd" sd-wide --dtype f32
expect "with its scheduler" cmp -s "$layouts/sd/scheduler/scheduler_config.json" sd-wide/scheduler/scheduler_config.json
check "a text encoder of another width" 2 "tokens of 192 channels, the UNet reads 64" "$ldm" info --diffusion-model sd-folder/unet --clip_l "$emoji/model.ckpt"
mkdir yaml && cp sd.safetensors yaml/other.safetensors && cp "$emoji/config.yaml" yaml/
check "a config.yaml of another model is left aside" 0 "of another model" "$ldm" info yaml/other.safetensors
check "f32 it is" 0 "UNet          260612 parameters in 168 tensors, f32" "$ldm" info sd-f32
# q, k and v of an unconditional UNet are one tensor there, head by head
check "unconditional, packed" 0 "" "$ldm" convert "$layouts/ldm" ldm.safetensors --to compvis
run ldm.safetensors ldm packed && same "packed" ldm packed
check "unconditional, apart again" 0 "" "$ldm" convert ldm.safetensors ldm-folder --to diffusers
run ldm-folder ldm apart && same "apart" ldm apart
check "a folder is never replaced" 5 "is there already" "$ldm" convert sd.safetensors sd-folder --to diffusers

# ---- the trained model: .ckpt to .safetensors, to a folder and back
check ".ckpt to .safetensors" 0 "" "$ldm" convert "$emoji/model.ckpt" emoji.safetensors
expect "its configuration goes with it" cmp -s "$emoji/config.yaml" emoji.yaml
check "to a folder" 0 "" "$ldm" convert emoji.safetensors emoji --to diffusers
check "and back" 0 "" "$ldm" convert emoji again.safetensors --to compvis
python3 - <<'END'
import random, struct
random.seed(1)
for name, shape in (("x", (1, 32, 8, 8)), ("c", (1, 24, 192)), ("t", (1,))):
    n = 1
    for s in shape:
        n *= s
    head = "{'descr': '<f4', 'fortran_order': False, 'shape': (%s,), }" % ", ".join(map(str, shape))
    head += " " * (63 - (10 + len(head)) % 64) + "\n"
    open("in-%s.npy" % name, "wb").write(b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head.encode() + b"".join(struct.pack("<f", random.gauss(0, 1) if name != "t" else 431) for _ in range(n)))
END
for m in "$emoji/model.ckpt" emoji.safetensors emoji again.safetensors; do
    check "UNet of $m" 0 "run 1" "$ldm" run unet -m "$m" --in x=in-x.npy --in t=in-t.npy --in context=in-c.npy -o "run-$(basename "$m").npy"
done
for m in emoji.safetensors emoji again.safetensors; do expect "the same from $m" cmp -s run-model.ckpt.npy "run-$m.npy"; done
for m in "$emoji/model.ckpt" emoji.safetensors emoji; do
    check "a picture from $m" 0 "" "$ldm" gen -m "$m" --taesd "$tests/data/taef2" -p "red apple" --sampling-method ddim --steps 4 --cfg-scale 3 -s 7 -o gen.png --save-latent "gen-$(basename "$m").npy"
done
for m in emoji.safetensors emoji; do expect "the same latent from $m" cmp -s gen-model.ckpt.npy "gen-$m.npy"; done
check "the scale goes along" 0 "scale factor  1.18772" "$ldm" info emoji

# ---- parts apart
check "every part from a file of its own" 0 "missing       nothing" "$ldm" info --diffusion-model sd-folder/unet/diffusion_pytorch_model.safetensors --vae "$layouts/sd/vae/diffusion_pytorch_model.bin" --clip_l "$layouts/sd/text_encoder"
check "what is not there is named" 0 "missing       a first stage .--vae or --taesd., a text encoder" "$ldm" info sd-folder/unet
check "an autoencoder of other channels" 2 "latents of 32 channels, the UNet makes 4" "$ldm" info "$layouts/sd" --taesd "$tests/data/taef2"
check "an autoencoder where a UNet is wanted" 2 "no UNet in it" "$ldm" info --diffusion-model "$layouts/sd/vae"

# ---- outputs that cannot be
check "a full disk" 5 "full.safetensors: cannot be written" bash -c "ulimit -f 100; exec '$ldm' convert '$emoji/model.ckpt' full.safetensors"
check "a full disk, a folder" 5 "cannot be written" bash -c "ulimit -f 100; exec '$ldm' convert '$emoji/model.ckpt' full --to diffusers"
check "a folder that is missing" 5 "" "$ldm" convert sd.safetensors none/x.safetensors
cp "$emoji/model.ckpt" own.ckpt
for out in own.ckpt x.pth x.bin; do check "a name that says a pickle, $out" 1 "$out: is a name of PyTorch's pickles, wanted .safetensors" "$ldm" convert own.ckpt $out; done
expect "... what was there is there" cmp -s own.ckpt "$emoji/model.ckpt"
check "a dtype that is none" 1 "wanted f32, f16 or bf16" "$ldm" convert sd.safetensors x.safetensors --dtype f8
check "a layout that is none" 1 "wanted compvis or diffusers" "$ldm" convert sd.safetensors x.safetensors --to gguf
expect "nothing left behind" test -z "$(find . -name '*.tmp*' -o -name '*.part-*' -o -name 'full*' -o -name 'x.safetensors')"

# ---- folders that are wrong
fresh() { rm -rf bad && cp -r "$layouts/sd" bad; }
index=bad/unet/diffusion_pytorch_model.safetensors.index.json
bad() { check "$1" 2 "$2" "$ldm" info bad; }
fresh; echo '{"_class_name": ' >bad/model_index.json; bad "an index cut short" "model_index.json: line"
fresh; echo '[]' >bad/model_index.json; bad "an index that is a list" "no keys with values"
fresh; sed -i 's/StableDiffusionPipeline/StableDiffusionXLPipeline/' bad/model_index.json; bad "SDXL" "looks like Stable Diffusion XL, which is not supported yet"
fresh; sed -i 's/StableDiffusionPipeline/FluxPipeline/' bad/model_index.json; bad "Flux" "looks like Flux"
fresh; sed -i 's/StableDiffusionPipeline/SomethingElse/' bad/model_index.json; bad "another pipeline" "SomethingElse, which is not supported"
fresh; python3 -c 'open("bad/model_index.json","w").write("["*100000)'; bad "nested deeply" "nested deeper than 32"
fresh; python3 -c 'open("bad/model_index.json","w").write("{\"a\":["+"0,"*300000+"0]}")'; bad "many values" "more than [0-9]+ values"
fresh; printf '{"a": "\377"}' >bad/model_index.json; bad "no UTF-8" "not text in UTF-8"
fresh; rm -r bad/unet; bad "a part is missing" "unet"
fresh; rm bad/vae/*.bin; bad "a part without weights" "no weights in this folder"
fresh; sed -i 's/diffusion_pytorch_model-00001/..\/unet\/diffusion_pytorch_model-00001/' $index; bad "a shard outside" "wanted the name of a file beside the index"
fresh; rm bad/unet/*-00002-*; bad "a missing shard" "00002-of-00003.safetensors: cannot be opened"
fresh; cp bad/unet/*-00002-of-00003.safetensors bad/unet/diffusion_pytorch_model-00001-of-00003.safetensors; bad "a tensor in two shards" "is in two shards"
fresh; sed -i 's/"conv_in.bias"/"conv_in.bios"/' $index; bad "a tensor in none" "is in none of its shards"
fresh; echo '{"weight_map": {"a": 5}}' >$index; bad "a shard that is a number" "no text"
fresh; echo '{}' >$index; bad "no map" "no weight_map"
fresh; sed -i 's/"in_channels": 4/"in_channels": "four"/' bad/unet/config.json; bad "text for a number" "in_channels is four, wanted a whole number"
fresh; sed -i 's/"in_channels": 4/"in_channels": -4/' bad/unet/config.json; bad "a negative number" "wanted a whole number"
fresh; sed -i 's/UNet2DConditionModel/UNet3DConditionModel/' bad/unet/config.json; bad "another class" "UNet3DConditionModel, which is not supported"
fresh; sed -i 's/"act_fn": "silu"/"act_fn": "mish"/' bad/unet/config.json; bad "another activation" "act_fn is mish"
fresh; sed -i 's/"layers_per_block": 1/"layers_per_block": 2/' bad/unet/config.json; bad "another network than the weights" "describes another UNet"
fresh; sed -i 's/CrossAttnUpBlock2D/UpBlock2D/' bad/unet/config.json; bad "halves that do not match" "does not mirror"
fresh; sed -i 's/"hidden_size": 64/"hidden_size": 65/' bad/text_encoder/config.json; bad "another text encoder" "text encoder"
fresh; sed -i 's/scaled_linear/cubic/' bad/scheduler/scheduler_config.json; bad "another schedule" "beta_schedule is cubic"
fresh; sed -i 's/"beta_start": 0.00085/"beta_start": 2/' bad/scheduler/scheduler_config.json; bad "an impossible schedule" "beta_start 2"
fresh; head -c 3000 bad/vae/diffusion_pytorch_model.bin >v && mv v bad/vae/diffusion_pytorch_model.bin; bad "weights cut short" "diffusion_pytorch_model.bin"

# ---- the authors' configurations that are wrong
yaml() { check "$1" 2 "$2" "$ldm" info sd.safetensors --config c.yaml; }
sed 's/UNetModel/UNetModel2/' sd.yaml >c.yaml; yaml "yaml: another class" "unet_config.target is UNetModel2"
sed 's/LatentDiffusion/Text2VideoDiffusion/' sd.yaml >c.yaml; yaml "yaml: another model" "model.target is Text2VideoDiffusion, which is not supported"
sed 's/FrozenCLIPEmbedder/FrozenT5Embedder/' sd.yaml >c.yaml; yaml "yaml: another text encoder" "FrozenT5Embedder, which is not known"
sed 's/legacy: false/legacy: false\n        n_embed: 8/' sd.yaml >c.yaml; yaml "yaml: a parameter that is not known" "parameter n_embed"
sed 's/num_heads: 4/num_heads: [4/' sd.yaml >c.yaml; yaml "yaml: a bracket that is not closed" "c.yaml: line"
sed 's/num_heads: 4/num_heads: four/' sd.yaml >c.yaml; yaml "yaml: text for a number" "num_heads is four"
printf 'model: &a {target: x, params: *a}\n' >c.yaml; yaml "yaml: an alias" "an alias, which is not read"
printf 'model: {target: x, target: y}\n' >c.yaml; yaml "yaml: a key twice" "there twice"
python3 -c 'open("c.yaml","w").write("["*5000)'; yaml "yaml: nested deeply" "nested too deeply"
printf '\t- :\n\0' >c.yaml; yaml "yaml: not YAML at all" "c.yaml"
printf 'model: {}\n---\nmodel: {}\n' >c.yaml; yaml "yaml: two documents" "second document"
: >c.yaml; yaml "yaml: empty" "c.yaml"
check "yaml: missing" 2 "cannot be" "$ldm" info sd.safetensors --config none.yaml

closing
