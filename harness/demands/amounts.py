"""Amounts: how they are spelled, which of them are never a demand, and how they are compared."""

import re

from harness.demands.rewriting import BLANK, blanks, rewrites

# 1. Spellings. What comes in is lower-case, with ASCII digits and punctuation.

ENGLISH_NUMBERS = {
    **{word: n for n, word in enumerate(["one", "two", "three", "four", "five", "six", "seven", "eight", "nine"], 1)},
    **{"ten": 10, "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80},
}
CHINESE_DIGITS = {digit: number for number, digit in enumerate("零一二三四五六七八九")} | {"两": 2}
CHINESE_NUMBER = "[零一二两三四五六七八九十]+(?:点[零一二三四五六七八九]+)?"


def _english_number(match: re.Match[str]) -> str:
    return str(ENGLISH_NUMBERS[match[0]])


def _chinese_number(match: re.Match[str]) -> str:
    """十五 is 15, 二十 is 20, 一点五 is 1.5."""
    whole, point, decimals = match[0].partition("点")
    tens, ten, ones = whole.rpartition("十")
    number = (CHINESE_DIGITS.get(tens, 1) * 10 if ten else 0) + CHINESE_DIGITS.get(ones, 0)
    return f"{number}{'.' if point else ''}{''.join(str(CHINESE_DIGITS[digit]) for digit in decimals)}"


SPELLINGS = rewrites(
    ("markdown", r"\*\*|`|\$", ""),
    ("times sign", r"\\times\b|[×✕✖╳⨉]", "x"),
    ("at least", r"\\geq?(?:slant)?\b|[⩾≧]|>=|=>", "≥"),
    ("at most", r"\\leq?(?:slant)?\b|[⩽≦]|<=|=<", "≤"),
    ("percent", r"\\%|﹪", "%"),
    ("dash", "[‐‑‒–—―−～〜~]", "-"),
    ("apostrophe", "[’ʼ]", "'"),
    ("1,000", r"(?<=\d),(?=\d{3}(?!\d))", ""),
    ("three", rf"\b(?:{'|'.join(ENGLISH_NUMBERS)})\b", _english_number),
    ("1 and a half", r"\b(\d+) and a half\b", r"\1.5"),
    ("twice", r"\b(?:twice|doubl(?:e|es|ed|ing))\b", "2x"),
    ("thrice", r"\b(?:thrice|tripl(?:e|es|ed|ing))\b", "3x"),
    ("quadruple", r"\bquadrupl(?:e|es|ed|ing)\b", "4x"),
    ("order of magnitude", r"\b(?:an|1) order of magnitude\b", "10x"),
    ("half", r"(?<![.\w])hal(?:f|ve|ves|ved|ving)\b(?![- ]?precision)", "50%"),
    ("under a second", r"\b(under|within|than|in) an? (?=second\b|minute\b)", r"\1 1 "),
    ("half a second", r"\b(?:50%|half) an? second\b", "0.5 second"),
    ("a third", r"\b(?:a|1)[- ]third\b", "1/3"),
    ("2 thirds", r"\b2[- ]thirds\b", "2/3"),
    ("a quarter", r"\b(?:a|1)[- ]quarter\b", "25%"),
    ("3 quarters", r"\b3[- ]quarters\b", "75%"),
    ("speed up", r"\bspeed(?:s|ing)?[- ]?ups?\b", "speedup"),
    ("一半", "一半", "50%"),
    ("减半", "减半", "降低50%"),
    ("倍速", "倍速(?!度)", "倍速度"),
    ("翻倍", "翻了?一?[倍番]", "到2x"),
    ("三倍", rf"{CHINESE_NUMBER}(?=\s*(?:倍|秒|毫秒|分钟|成(?![功本像为])|分之))", _chinese_number),
    ("分之三", rf"(?<=分之){CHINESE_NUMBER}", _chinese_number),
    ("百分之5", r"百分之(\d+(?:\.\d+)?)", r"\1%"),
    ("3分之1", r"(?<!\d)(\d{1,2})分之(\d{1,2})(?!\d)", r"\2/\1"),
    ("3成", r"(\d)成(?![功本像为])", r"\g<1>0%"),
    ("1/3", r"(?<![\d./])([1-9]\d?)/([2-9]|[1-9]\d)(?![\d/%]|\.\d)", r"\g<1>00/\2%"),
)

# 2. Numbers that are never a demand.

NUMBER = r"(?<![\d.,/])\d+(?:\.\d+)?(?![.,/]?\d)"  # neither a part of 2.0.1 nor of a decimal comma
TIME_UNIT = r"(?:ms|s|msecs?|secs?|(?:milli)?seconds?|minutes?|mins?|hours?|毫秒|秒|分钟|小时)(?![a-z])"
DURATION = rf"{NUMBER}\s*-?\s*{TIME_UNIT}"
NEAR = r"[^,;.!?\d]{0,30}"  # a few words
VERSIONED = (
    r"(?:stable[- ]?diffusion|sdxl|sd|flux|wan|pixart|cogvideox?|version|v|accelerate|torch|diffusers|cuda|python)"
)
SCALING = (
    r"(?:super[- ]?resolution|(?:up|down)(?:scal|sampl)\w*|zoom\w*|magnif\w*|enlarg\w*|resiz\w*|larger|bigger"
    r"|放大|缩放|超分辨率|超分|上采样|下采样)"
)
PART = r"(?:step|batch|iteration|frame|token|layer|block|call|步|批)"
VIDEO = "(?:video|animation|audio|视频|动画|音频)"
SET_UP = (
    r"(?:\b(?:load|compil|warm|start|download|install|script|train|test|benchmark|evaluation|job|wait|sleep|all\b)"
    r"|加载|编译|预热|启动|下载|训练|所有|全部)"
)

OTHER_NUMBERS = blanks(
    ("prompt: 'a 2x faster car'", r"\bprompts?\s*(?:is|are|:|=)?\s*([\"']).{0,300}?\1"),
    ("512x512", r"(?<![\d.])\d{2,}\s*[x*]\s*\d{2,}(?:\s*[x*]\s*\d+)*"),
    (
        "8x A100, RTX 4090",
        r"(?:(?<![\d.])\d+\s*(?:x|块|张|个)\s*)?(?:(?:nvidia|geforce|tesla|quadro)\s*)*"
        r"(?<![a-z0-9])(?:(?:rtx|gtx)\s*a?\d{3,4}|[abhlpv]\d{2,4}|[tl]4)(?:\s*(?:ti|super|s)\b)?",
    ),
    (
        "SD 1.5, SDXL, FLUX.1, torch>=2.0",
        rf"(?<![a-z]){VERSIONED}[-\s_.=≥≤<>v]*(?:xl\s*)?\d+(?:\.\d+)*(?!\.?\d|\s*(?:x\b|%|times|倍|fold|percent))",
    ),
    ("2x upscaling", rf"(?<!\w)x?\s*{NUMBER}\s*(?:x|倍)?[-的 ]*{SCALING}"),
    ("upscale by 2x", rf"{SCALING}{NEAR}x?{NUMBER}\s*(?:x|times|倍|%)?"),
    ("50 steps", rf"{NUMBER}\s*-?\s*(?:x |% )?(?:[a-z]+\s+){{0,2}}(?:time)?steps?\b|{NUMBER}\s*步"),
    ("timeout of 60 s", rf"(?:\btime[sd]?[- ]?out|超时){NEAR}{DURATION}|{DURATION} time-?out"),
    ("20 ms per step", rf"{DURATION}\s*(?:per|/|each|every|a)\s*(?:[a-z]+ )?{PART}"),
    ("each step within 20 ms", rf"(?:(?:per|each|every)[- ](?:[a-z]+ )?|每一?){PART}{NEAR}{DURATION}"),
    ("load within 60 s", rf"{SET_UP}{NEAR}{DURATION}"),
    ("5 s video", rf"{DURATION}\s*(?:long\s*|of\s*)?的?\s*{VIDEO}|{VIDEO}{NEAR}{DURATION}"),
)

# 3. Quantities.

UNIT = r"(?:x|%|ms|s|min)"
AHEAD = r"\s*(?:(?:an?|the|about|around|roughly|approximately|or equal to)\s+|大?约\s*)*(?=\d)"
NOT = r"(?:\bnot|\bnever|\bno|\bcannot|\bwithout|n't)(?: [a-z]+){0,3}?"

QUANTITIES = rewrites(
    ("x2", r"(?<![a-z0-9])x\s?(\d+(?:\.\d+)?)(?![\d.]*\s*x)", r"\1x"),
    ("factor of 2", rf"(?:\ban? )?\bfactor of ((?:[a-z]+ )*)({NUMBER})x?(?![\w%])", r"\1\2x"),
    ("2 times", rf"({NUMBER})\s*-?\s*(?:x|times|fold|倍)(?![a-z0-9])", r"\1x"),
    ("5 percent", rf"({NUMBER})\s*(?:%|percent\b|per cent\b)", r"\1%"),
    ("2 seconds", rf"({NUMBER})\s*-?\s*(?:s|secs?|seconds?|秒钟?)(?![a-z])", r"\1s"),
    ("2 milliseconds", rf"({NUMBER})\s*-?\s*(?:ms|msecs?|milliseconds?|毫秒)(?![a-z])", r"\1ms"),
    ("2 minutes", rf"({NUMBER})\s*-?\s*(?:min|mins|minutes?|分钟)(?![a-z])", r"\1min"),
    ("from 3 s", rf"(?:\bfrom|从)\s*(?:about |around |约)?{NUMBER}(?:ms|s|min)", BLANK),
    ("between 1 and 2", rf"(?:\bbetween|介于)\s*({NUMBER}){UNIT}?\s*(?:and|和|与)\s*(?={NUMBER})", r"\1-"),
    ("1 to 2x", rf"({NUMBER}){UNIT}?\s*(?:-|to|至|到)\s*({NUMBER}{UNIT})", r"\1~\2"),
    ("1-2", rf"({NUMBER})-(?={NUMBER})", r"\1~"),
    ("not below", rf"({NOT}) (?:less|lower|smaller|below|under|fewer)(?: than)?{AHEAD}", r"\1 ≥"),
    (
        "not above",
        rf"({NOT}) (?:more|greater|higher|larger|longer|slower|above|over|beyond|exceed\w*)(?: than)?{AHEAD}",
        r"\1 ≤",
    ),
    ("faster than 2 s", rf"(?:faster|quicker|shorter) than{AHEAD}(?=[\d.]+(?:ms|s|min))", "≤"),
    (
        "at least",
        rf"\b(?:at least|(?:a )?minimum(?: of)?|min\.?|(?:more|greater|higher|better) than|over|above"
        rf"|exceed(?:s|ing)?){AHEAD}",
        "≥",
    ),
    ("within 5%", rf"\bwithin{AHEAD}(?=[\d.]+%)", "±"),
    (
        "at most",
        rf"\b(?:at most|(?:a )?maximum(?: of)?|max\.?|up to|(?:less|lower|smaller) than|below|under|within|sub-)"
        rf"{AHEAD}",
        "≤",
    ),
    ("不低于", "不(?:得|能|应|可|会)?(?:低于|少于|小于|慢于)|至少|最少|大于等于", "≥"),
    ("不超过", "不(?:得|能|应|可|要|会)?(?:超过|高于|大于|多于|超出|长于)|小于等于", "≤"),
    ("超过", "大于|超过|超出|高于|>", "≥"),
    ("低于", "小于|低于|少于|短于|最多|至多|最高|控制在|<", "≤"),
    (
        "or more",
        rf"(?<![\d./~])(\d[\d./~]*{UNIT})(?:\+| \(?or (?:more|better|higher|greater|above|faster)\b\)?|\s*[及或]?以上)",
        r"≥\1",
    ),
    (
        "or less",
        rf"(?<![\d./~])(\d[\d./~]*{UNIT}(?: ?(?:/|每|per) ?(?:张|image))?)"
        rf"(?: or (?:less|lower|under|below|faster|shorter)\b| max(?:imum)?\b|\s*[及或]?(?:以内|之内|以下|内(?!存)))",
        r"≤\1",
    ),
    ("sign and number", r"([≥≤±])(?:[≥≤±\s:]|an? |about |around |大?约)*(?=\d)", r"\1"),
)
