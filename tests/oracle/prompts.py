"""prompts.py -- writes tests/fixtures/text: in prompts.gz 2,000 strings in many scripts and the ids that the fast tokenizers of
`transformers` give them, whole, without start and end tokens; small tokenizer folders as diffusers models have them, in folders/,
and in folders.gz what each makes of some of the strings.

    .venv/bin/python tests/oracle/prompts.py

Numbers are little endian. Per string: u32 bytes, the bytes (UTF-8); then for BERT and for CLIP u32 ids, the ids as u16. folders.gz
has lists of 40 ids instead, with start, end and padding, for each folder in the order of FOLDERS.
Checked here: with a limit of 77 the witness gives the first 75 of them between start and end, and pads behind.
"""
import gzip
import io
import json
import os
import random
import shutil
import struct
import tempfile

import tokenizers
import transformers
from transformers import BertTokenizerFast, CLIPTokenizerFast

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
VOCAB = os.path.join(ROOT, "host", "text", "vocab")
OUT = os.path.join(ROOT, "tests", "fixtures", "text")
COUNT = 2000


def clip_files(folder):
    """vocab.json and merges.txt from the merges alone: bytes, bytes that end a word, merges, two special tokens."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = [chr(b) for b in printable] + [chr(256 + i) for i in range(256 - len(printable))]
    merges = open(os.path.join(VOCAB, "clip-merges.txt"), encoding="utf-8").read().split("\n")[:-1]
    tokens = letters + [x + "</w>" for x in letters] + [m.replace(" ", "") for m in merges] + ["<|startoftext|>", "<|endoftext|>"]
    assert len(tokens) == 49408
    json.dump({token: i for i, token in enumerate(tokens)}, open(os.path.join(folder, "vocab.json"), "w"))
    open(os.path.join(folder, "merges.txt"), "w", encoding="utf-8").write("#version: 0.2\n" + "\n".join(merges) + "\n")


def witnesses():
    with tempfile.TemporaryDirectory() as d:
        clip_files(d)
        clip = CLIPTokenizerFast.from_pretrained(d)
        os.remove(os.path.join(d, "vocab.json"))
        open(os.path.join(d, "vocab.txt"), "w", encoding="utf-8").write(open(os.path.join(VOCAB, "bert-base-uncased.txt"), encoding="utf-8").read())
        bert = BertTokenizerFast.from_pretrained(d)
    return bert, clip


r = random.Random(20221)
WORDS = """a photograph of an astronaut riding a horse oil painting in the style of rembrandt highly detailed 8k unreal engine
octane render trending on artstation cat dog woman man city skyline sunset watercolor bokeh f/1.8 85mm portrait cinematic lighting
intricate hyperrealistic antidisestablishmentarianism pneumonoultramicroscopicsilicovolcanoconiosis mid-century e-mail rock'n'roll""".split()
SENTENCES = [
    "Äpfel, Öl & Übermut: straße, Fußgänger", "à la carte – déjà vu, garçon, naïve, cœur, Œuvre", "Żółć gęślą jaźń", "Příliš žluťoučký kůň úpěl ďábelské ódy",
    "El pingüino Wenceslao hizo kilómetros ¿o no?", "São João, açúcar, coração", "Þórður, ævintýri, ð", "İstanbul'da IĞDIR ılık İYİ", "Ñandú ñoño",
    "Đường phố Hà Nội, tiếng Việt có dấu", "Ŋ ŋ Ǆ ǅ ǆ Ǳ ǲ ǳ", "Ξεσκεπάζω την ψυχοφθόρα βδελυγμία ΣΊΣΥΦΟΣ", "Съешь же ещё этих мягких французских булок, да выпей чаю",
    "Щёлкнул ЙОГУРТ й и\u0306", "Ґанок, їжак, єдність", "שלום עולם, בְּרֵאשִׁית", "مرحبا بالعالم، كَيْفَ الحال؟ ١٢٣", "فارسی: می‌خواهم ۴۵۶", "नमस्ते दुनिया, क्षत्रिय ज़रूर १२३",
    "আমি বাংলায় গান গাই", "ਪੰਜਾਬੀ ਭਾਸ਼ਾ", "தமிழ் மொழி கௌ", "తెలుగు", "ಕನ್ನಡ ಕೊ", "മലയാളം", "සිංහල", "สวัสดีชาวโลก น้ำ", "ພາສາລາວ", "བོད་ཡིག", "မြန်မာဘာသာ", "ភាសាខ្មែរ",
    "ქართული ᲥᲐᲠᲗᲣᲚᲘ", "Հայերեն ԵՒ և", "አማርኛ", "ᏣᎳᎩ ꮳꮃꭹ", "ᠮᠣᠩᠭᠣᠯ", "你好，世界。敏捷的棕色狐狸", "漢字かな交じり文、カタカナ、ﾊﾝｶｸ が か\u3099 パ ハ\u309a", "안녕하세요 세계 한글 \u1112\u1161\u11ab",
    "𠀀𪛕𫝀𫠝𬺡 丽", "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𝟙𝟚𝟛 ℵ ℌ Ω Å K", "ﬁ ﬂ ﬀ ﬃ ﬅ ĳ Ĳ ŉ ẞ ß", "½ ⅓ Ⅷ ⅷ ① ㊙ ² ₂ ٣ ३ 三 〇", "１２３ ＡＢＣ ａｂｃ ！？", "🙂👍🏽👩‍🚀👨‍👩‍👧‍👦🏳️‍🌈🇩🇪❤️☎️",
    "👩🏿‍❤️‍💋‍👨🏻 🧑‍🦰 🫠🫨", "e\u0301 e\u0323\u0302 \u1ec7 a\u0328\u0301 q\u0307\u0323 o\u0302\u0323", "Z̸̢̛a̷̡l̵̨g̶̛o̸ t̷e̵x̶t̸", "don't it's I'll we've they're he'd I'M DON'T 'tis 's''s", "rock ’n’ roll “quotes” ‘single’ «guillemets»",
    "C++ && C# || a->b; x[i] = {y} != ~z ^ 0xFF", "http://example.com/a?b=c&d=%20e#f user@host.org", "$100 €20 ¥5 £3 ₿1 50% ±0.5°C", "...!!! ???—–-- /\\ (((a))) [b:1.2] {c|d}", "1234567890 3.14159 1,000,000 2022-08-22 12:30",
    "<|endoftext|>", "a <|startoftext|> b <|endoftext|>!", "<|EndOfText|> <|STARTOFTEXT|>!!", "x<|endoftext|>y", "[CLS] a [SEP] b [PAD][MASK][UNK] [sep] [Sep]", "[SEP", "<|endoftext", "##ing ##s", "</w> cat</w>", "&amp; &lt;b&gt; &#39;",
    "\ta\nb\r\nc\x0bd\x0ce", "a\u00a0b\u2003c\u200ad\u3000e\u1680f\u2028g\u2029h\u0085i\u202fj", "a\u200bb\u200cc\u200dd\ufeffe\u2060f\u00adg", "\x01\x02\x07\x08\x1b[31m\x7f\x80\x9f", "\ufffd\ufffe\uffff\U0010ffff\ue000\U000f0000", "", " ", "   \n ", ".", "a", "\u0301", "\u0301\u0323a", "\ufeff",
    "ꞋꞍ ꟊ Ꟑ Ꟙ 𐐀𐓀 𞤀 ᲀ ꭰ Ꭰ", "\u1734\u1715 \u166d \u0890 \u08e2 \u061d \u0898 \U00011935\U00011930 \U00011938", "\u1c89 \ua7cb\ua7cc\ua7da\ua7dc \U00010d50 \U00016ea0 \U0001e5d0 \U0002ebf0",
]
BLOCKS = [(0x20, 0x7e), (0xa0, 0x17f), (0x180, 0x24f), (0x250, 0x36f), (0x370, 0x3ff), (0x400, 0x52f), (0x531, 0x589), (0x591, 0x5f4), (0x600, 0x6ff), (0x700, 0x8ff), (0x900, 0x97f), (0x980, 0xdff),
          (0xe01, 0xeff), (0xf00, 0x10ff), (0x1100, 0x11ff), (0x1200, 0x139f), (0x13a0, 0x17ff), (0x1800, 0x1cff), (0x1d00, 0x1fff), (0x2000, 0x214f), (0x2150, 0x23ff), (0x2400, 0x27bf), (0x27c0, 0x2bff), (0x2c00, 0x2fff),
          (0x3000, 0x30ff), (0x3100, 0x33ff), (0x3400, 0x4dff), (0x4e00, 0x9fff), (0xa000, 0xabff), (0xac00, 0xd7ff), (0xe000, 0xe100), (0xf900, 0xffff), (0x10000, 0x107ff), (0x10800, 0x10fff), (0x11000, 0x11fff),
          (0x12000, 0x143ff), (0x16000, 0x16fff), (0x17000, 0x1b2ff), (0x1bc00, 0x1d7ff), (0x1e000, 0x1efff), (0x1f000, 0x1faff), (0x20000, 0x2a6df), (0x2a700, 0x2fa1f), (0x30000, 0x323af), (0xe0000, 0xe01ef)]
MARKS = [*range(0x300, 0x370), *range(0x591, 0x5c8), *range(0x64b, 0x660), *range(0x1ab0, 0x1acf), *range(0x1dc0, 0x1e00), 0x3099, 0x309a, 0xe38, 0xe48, 0x93c, 0x94d]
SPACES = " \t\n\r\x0b\x0c\u0085\u00a0\u1680\u2000\u2007\u2009\u2028\u2029\u202f\u205f\u3000"
INVISIBLE = "\x01\x1f\x7f\u00ad\u200b\u200c\u200d\u200e\u2060\ufeff\ufffd\u061c\u180e"
PUNCT = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~¡¿§¶·«»–—‘’“”…‰€₹™©®°±×÷"
SKIN, HAIR, PEOPLE = "🏻🏼🏽🏾🏿", "🦰🦱🦲🦳", "👩👨🧑👧👦"


def mixed_case(s):
    return "".join(c.upper() if r.random() < 0.5 else c.lower() for c in s)


def random_block(n):
    a, b = r.choice(BLOCKS)
    return "".join(chr(r.randint(a, b)) for _ in range(n))


def emoji():
    kind = r.randrange(5)
    if kind == 0:
        return r.choice(PEOPLE) + r.choice(SKIN) + "\u200d" + r.choice(HAIR + "🚀🎨⚖")
    if kind == 1:
        return "\u200d".join(r.choice(PEOPLE) for _ in range(r.randint(2, 4)))
    if kind == 2:
        return chr(0x1f1e6 + r.randrange(26)) + chr(0x1f1e6 + r.randrange(26))
    if kind == 3:
        return r.choice("0123456789#*") + "\ufe0f\u20e3"
    return chr(r.randint(0x1f300, 0x1faff)) + r.choice(["", "\ufe0f", r.choice(SKIN)])


def one(i):
    kind = i % 20
    if kind == 0:
        return " ".join(r.choice(WORDS) for _ in range(r.randint(1, 110)))
    if kind == 1:
        return ", ".join(mixed_case(r.choice(WORDS)) for _ in range(r.randint(1, 20)))
    if kind == 2:
        return r.choice(SENTENCES) + r.choice(["", " ", ", "]) + r.choice(SENTENCES)
    if kind == 3:
        return mixed_case(r.choice(SENTENCES))
    if kind == 4:
        return random_block(r.randint(1, 12))
    if kind == 5:
        return "".join(random_block(r.randint(1, 4)) for _ in range(r.randint(2, 8)))
    if kind == 6:
        return "".join(r.choice("aeiounAEIOUяе한かカ") + "".join(chr(r.choice(MARKS)) for _ in range(r.randint(0, 4))) for _ in range(r.randint(1, 12)))
    if kind == 7:
        return r.choice(["", "a "]) + "".join(emoji() for _ in range(r.randint(1, 6))) + r.choice(["", " cat"])
    if kind == 8:
        return "".join(r.choice(SPACES) * r.randint(1, 3) + r.choice(WORDS + SENTENCES) for _ in range(r.randint(1, 6)))
    if kind == 9:
        return "".join(r.choice(WORDS) + r.choice(INVISIBLE) * r.randint(0, 2) for _ in range(r.randint(1, 8)))
    if kind == 10:
        return "".join(r.choice(PUNCT) for _ in range(r.randint(1, 30)))
    if kind == 11:
        return "".join(r.choice([r.choice(WORDS), r.choice(PUNCT), " ", str(r.randrange(10**r.randint(1, 9)))]) for _ in range(r.randint(1, 25)))
    if kind == 12:
        return r.choice(["a", "ab", "x", "ha", "é", "я", "の", "ก", "9", "!", "'s", "🙂", "ss", "cat"]) * r.randint(40, 700)
    if kind == 13:
        return "".join(r.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(r.randint(90, 110)))
    if kind == 14:
        return " ".join(r.choice(WORDS) + r.choice(["'s", "'t", "'re", "'ve", "'m", "'ll", "'d", "'S", "’s", "'x", "'", "''s"]) for _ in range(r.randint(1, 10)))
    if kind == 15:
        special = ["<|endoftext|>", "<|startoftext|>", "[SEP]", "[CLS]", "[MASK]", "[PAD]", "[UNK]", "<|ENDOFTEXT|>", "[sep]", "<|endoftext|", "SEP]", "</w>", "##a"]
        return "".join(r.choice([r.choice(special), r.choice(WORDS), " ", r.choice(PUNCT), r.choice(SENTENCES)]) for _ in range(r.randint(2, 9)))
    if kind == 16:
        return "".join(chr(r.choice([r.randint(1, 0x2ff), r.randint(0x300, 0xd7ff), r.randint(0xe000, 0x10ffff)])) for _ in range(r.randint(1, 20)))
    if kind == 17:
        return "".join(chr(r.randint(0x4e00, 0x9fff)) if r.random() < 0.7 else r.choice(["cat", " ", "，", "カ", "。", "１"]) for _ in range(r.randint(1, 40)))
    if kind == 18:
        return " ".join(mixed_case(r.choice(["İI", "ıi", "ẞß", "ΣΑΣ", "ǅǈ", "ﬁﬂ", "Ǆ", "Ωω", "Å", "ŉ", "ǰ", "ΐ", "ᾳ", "ա", "և", "ꭰ", "ᏸ"]) + r.choice(WORDS)) for _ in range(r.randint(1, 8)))
    return "".join(r.choice(s) for s in [r.choice(SENTENCES + WORDS) or " " for _ in range(r.randint(1, 40))])


def added(content, normalized):
    return {"content": content, "lstrip": False, "normalized": normalized, "rstrip": False, "single_word": False}


def small_clip(merges, **config):
    """As the tokenizer folder of SD 1.x and 2.x: vocab.json, merges.txt, and special tokens that are said to be normalised."""
    def write(folder):
        with tempfile.TemporaryDirectory() as d:
            clip_files(d)
            lines = open(os.path.join(d, "merges.txt"), encoding="utf-8").read().split("\n")[:1 + merges]
            tokens = sorted((i, t) for t, i in json.load(open(os.path.join(d, "vocab.json"))).items())
        tokens = [t for _, t in tokens[:512 + merges]] + ["<|startoftext|>", "<|endoftext|>"]
        json.dump({t: i for i, t in enumerate(tokens)}, open(os.path.join(folder, "vocab.json"), "w"))
        open(os.path.join(folder, "merges.txt"), "w", encoding="utf-8").write("\n".join(lines) + "\n")
        special = {"bos_token": added("<|startoftext|>", True), "eos_token": added("<|endoftext|>", True), "unk_token": added("<|endoftext|>", True), **config}
        json.dump({k: v for k, v in special.items() if k.endswith("_token")}, open(os.path.join(folder, "special_tokens_map.json"), "w"))
        typed = {k: {"__type": "AddedToken", **v} if isinstance(v, dict) else v for k, v in special.items()}
        json.dump({"tokenizer_class": "CLIPTokenizer", "do_lower_case": True, **typed}, open(os.path.join(folder, "tokenizer_config.json"), "w"))
    return CLIPTokenizerFast, write


def small_bert(**config):
    def write(folder):
        tokens = open(os.path.join(VOCAB, "bert-base-uncased.txt"), encoding="utf-8").read().split("\n")[:-1]
        keep = [t for t in tokens if t in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]") or len(t.replace("##", "")) == 1 and t < "\u0500"] + tokens[1996:2300]
        keep += ["A", "Cat", "É", "##É", "Über", "ü", "é", "中文"]
        open(os.path.join(folder, "vocab.txt"), "w", encoding="utf-8").write("\n".join(dict.fromkeys(keep)) + "\n")
        json.dump({"tokenizer_class": "BertTokenizer", **config}, open(os.path.join(folder, "tokenizer_config.json"), "w"))
    return BertTokenizerFast, write


# name: how it is written first, and whether this version of transformers saves it anew (tokenizer.json)
FOLDERS = {
    "sd1": (small_clip(300, pad_token="<|endoftext|>", model_max_length=77), False),
    "sd2": (small_clip(200, pad_token="!", model_max_length=77), False), # a "!" in a prompt becomes padding
    "sd2_saved": (small_clip(100, pad_token="!"), True),
    "bert": (small_bert(model_max_length=24), False),
    "bert_cased": (small_bert(do_lower_case=False, tokenize_chinese_chars=False), False),
    "bert_cased_saved": (small_bert(do_lower_case=False, strip_accents=True), True),
}


def folders(strings):
    made = []
    for name, ((kind, write), again) in FOLDERS.items():
        folder = os.path.join(OUT, "folders", name)
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)
        write(folder)
        t = kind.from_pretrained(folder)
        if again:
            shutil.rmtree(folder)
            t.save_pretrained(folder)
            t = kind.from_pretrained(folder)
        made.append(t)
    out = io.BytesIO()
    for s in strings:
        data = s.encode("utf-8")
        out.write(struct.pack("<I", len(data)) + data)
        for t in made:
            out.write(struct.pack("<40H", *t(s, padding="max_length", truncation=True, max_length=40)["input_ids"]))
    open(os.path.join(OUT, "folders.gz"), "wb").write(gzip.compress(out.getvalue(), 9, mtime=0))


def main():
    bert, clip = witnesses()
    strings = list(dict.fromkeys(SENTENCES))
    i = 0
    while len(strings) < COUNT:
        s = one(i).replace("\0", "")
        i += 1
        try:
            s.encode("utf-8")
        except UnicodeEncodeError:
            continue
        if s not in strings:
            strings.append(s)
    out = io.BytesIO()
    for s in strings:
        data = s.encode("utf-8")
        out.write(struct.pack("<I", len(data)) + data)
        for t, start, end, pad in (bert, 101, 102, 0), (clip, 49406, 49407, 49407):
            ids = t(s, add_special_tokens=False)["input_ids"]
            kept = [start] + ids[:75] + [end]
            assert t(s, padding="max_length", truncation=True, max_length=77)["input_ids"] == kept + [pad] * (77 - len(kept))
            out.write(struct.pack("<I", len(ids)) + struct.pack("<%dH" % len(ids), *ids))
    os.makedirs(OUT, exist_ok=True)
    path = os.path.join(OUT, "prompts.gz")
    open(path, "wb").write(gzip.compress(out.getvalue(), 9, mtime=0))
    json.dump({"strings": len(strings), "transformers": transformers.__version__, "tokenizers": tokenizers.__version__}, open(os.path.join(OUT, "fixture.json"), "w"), indent=1)
    folders(SENTENCES + strings[-100:] + ["A Cat! Über ÉÉ 中文 中 <|ENDOFTEXT|> [sep] [SEP]"])
    print(path, len(strings), "strings,", out.tell(), "bytes,", os.path.getsize(path), "compressed")


main()
