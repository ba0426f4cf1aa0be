#!/bin/bash
# test_tokenize.sh -- `ldm tokenize` as a user meets it: tokens, ids, what it warns of, what it refuses. LDM names the tool.
suite=tokenize one_sentence=yes
. "$(dirname "$0")/check.sh"
fixtures=$tests/fixtures/text/folders

check "a token a line" 0 '^  2368  cat</w>$' "$ldm" tokenize "a cat"
check "what follows" 0 '^4 of 77 tokens, then 73 times 49407$' "$ldm" tokenize "a cat"
check "CLIP's ids" 0 '^49406 320 2368 49407 49407 49407$' "$ldm" tokenize --clip --ids --length 6 "a cat"
check "OpenCLIP pads with 0" 0 '^49406 320 2368 49407 0 0$' "$ldm" tokenize --openclip --ids --length 6 "a cat"
check "BERT's ids" 0 '^101 1037 4937 102 0 0$' "$ldm" tokenize --bert --ids --length 6 "A Cat"
check "two prompts" 0 '^49406 1929 49407$' "$ldm" tokenize --ids --length 3 "cat" "dog"
check "a folder" 0 '^24 of 24 tokens$' "$ldm" tokenize -m "$fixtures/bert" "a b c d e f g h i j k l m n o p q r s t u v w x y z"
mkdir model && cp -r "$fixtures/sd2" model/tokenizer
check "a model's folder" 0 ', then 74 times 0$' "$ldm" tokenize -m model "a"
long=$(printf 'cat %.0s' $(seq 75))
check "75 tokens fit" 0 '^77 of 77 tokens$' "$ldm" tokenize "$long"
expect "and nothing is said of them" test ! -s err.txt
check "what is cut is named" 0 'takes 77 tokens and 75 fit; left out: "red bicycle"' "$ldm" tokenize "${long}red bicycle"
check "weights are named" 0 'taken literally: "\(red:1.3\)"' "$ldm" tokenize "a (red:1.3) cat"
check "not with -q" 0 '' "$ldm" tokenize -q "a (red:1.3) cat"
expect "-q is quiet" test ! -s err.txt
check "invalid UTF-8" 1 'not UTF-8: byte 0xff at offset 4' "$ldm" tokenize $'a c \xff'
check "no prompt" 1 'too few words' "$ldm" tokenize
check "two kinds" 1 'exclude each other' "$ldm" tokenize --bert --clip x
check "a length that is none" 1 'wanted 2 to' "$ldm" tokenize --length 1 x
check "no such folder" 2 'no tokenizer' "$ldm" tokenize -m nowhere x
check "a full disk" 5 'standard output' sh -c "$ldm tokenize x >/dev/full"

closing
