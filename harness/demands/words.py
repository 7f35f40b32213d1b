"""Words: what stands for what in both languages, and which amounts are told rather than demanded."""

from harness.demands.rewriting import blanks, rewrites, words

# 4. Words: what they become, in English, in Chinese.

KIND = (
    r"(?:(?:inference|generation|sampling|execution|running|run|processing|denoising|wall[- ]clock|end[- ]to[- ]end"
    r"|per-image|推理|生成|采样|运行|单张) ?){0,4}"
)

WORDS = words(
    # Phrases that contain a word of a later row come first.
    ("", r"(?:at the same|real|each|every|this|first|compile|training|load(?:ing)?|start-?up) time", "同时|实时"),
    (
        "NONEED",
        r"(?:not|no|n't|[a-z]{1,8}n't)(?: \w+)? (?:need|have to|require[ds]?|necessary|expect(?:ed)?)(?: to| for)?",
        "不(?:需要|必|要求|强制)|无需|无须",
    ),
    (
        "KNOWN",
        r"(?:known|reported|claimed|shown|said) to|reports|reported|claims|claimed|typically|usually|generally"
        r"|often|theoretically|according to|for example|for instance|users|people|e\.g\.?|such as",
        "据报道|论文|通常|一般|已知|据说|例如|比如",
    ),
    ("WISH", "ideally|preferably|hopefully|if possible|stretch goal|bonus", "最好|理想情况下|争取|尽量|如果可能"),
    ("TODAY", "currently|at present|at the moment|right now|previously|so far", "目前|现在"),
    (
        "PERIMAGE",
        r"(?:(?:per|an?|each|every|for (?:each|every|an?|1)|1) )(?:single |generated |output )?"
        r"(?:image|img|picture|photo|sample)|each",
        "/ ?(?:image|img|picture)|每张图?[片像]?|每幅图?像?|单张图?[片像]?|/ ?张|一张图?[片像]?|每图",
    ),
    ("PERSECOND", r"(?:images?|imgs?|pictures|samples) ?(?:/ ?s(?:ec)?|per second)", "张图?片?[/每]秒"),
    (
        "MUST",
        r"must|should|needs? to|need|ha(?:s|ve) to|required?|requirement|targets?|goals?|aim|achiev(?:e|ing)"
        r"|reach(?:ing)?|attain|hit|get|ensure|want|limit|budget",
        "要求|达到|目标|必须|应该?|实现",
    ),
    (
        "STATES",
        "is|are|takes|needs|runs|has|gives|provides|brings|yields|delivers|offers|achieves|reaches|gets|averages"
        "|requires|costs|generates|produces",
        "需要|带来",
    ),
    (
        "STATED",
        "was|were|used to|took|needed|ran|had|gave|provided|yielded|achieved|reached|got|measured|observed",
        "(?!)",
    ),
    ("STATES CUT", "reduces|cuts|lowers|saves|shortens|decreases|drops", "(?!)"),
    ("STATES SPEEDUP", "accelerates", "(?!)"),
    # Words with a meaning of their own.
    ("TIME", rf"{KIND}(?:time|latency|latencies|runtime|duration)", f"{KIND}(?:时间|耗时|时延|延迟|用时|时长)"),
    ("SPEEDUP", rf"{KIND}(?:speedups?|accelerations?|accelerat(?:e|ing))", "加速比|提速比"),
    ("FASTER", r"(?:faster|quicker|as fast|as quick(?:ly)?)(?: as)?", "加速|提速|加快|更?快"),
    ("SPEED", rf"{KIND}(?:speed|throughput)", f"{KIND}(?:速度|吞吐量?|速率)"),
    ("MAKE", r"generat(?:e|ing|ion|ed)|render(?:ing|ed)?|inference|infer|sampling|pipeline", "生成|推理|出图"),
    (
        "MORE",
        r"increas(?:e|ed|ing)|boost(?:ed)?|raise|higher|more|better|gain",
        "提升|提高|增加|增长",
    ),
    ("IMPROVE", "improv(?:e|ed|ing|ements?)", "改善|优化"),
    (
        "CUT",
        r"reduc(?:e|ed|ing|tions?)|cut(?:ting)?|lower(?:ed|ing)?|decreas(?:e|ed|ing)|shorten(?:ed|ing)?|shorter"
        r"|shrink|shav(?:e|ing)|sav(?:e|ing|ings)|slash|trim|less|bring|drop(?:ped|ping)?|fall|go down",
        "降低|减少|缩短|下降|压缩|节省|节约|缩减|降幅|减|降|省",
    ),
    ("QUALITY", r"(?:image |visual )?quality|clip(?:[- ]?scores?)?|fidelity", "(?:图像|图片)?质量|画质|clip分数"),
    (
        "LOSS",
        r"loss(?:es)?|los(?:e|ing)|degrad(?:e|ed|ing|ation)|declin(?:e|ing)|deteriorat(?:e|ion|ing)|worse"
        r"|sacrific(?:e|ing)",
        "损失|下滑|劣化|衰减|变差",
    ),
    ("KEEP", r"keep(?:ing)?|retain(?:ing)?|maintain(?:ing)?|preserv(?:e|ing)", "保持|保留|维持"),
    (
        "ALLOW",
        r"may|can|allow(?:ed|able)?|accept(?:ed|able|ing)?|tolerat(?:e|ed|ing)|tolerance|permit(?:ted)?",
        "允许|接受|容忍|可以",
    ),
    (
        "OTHER",
        r"memory|vram|steps?|tokens?|resolution|parameters?|weights?|flops|macs|size|layers?|cost|interval"
        r"|strength|batch|prompts?|convergence|training|compilation|loading",
        "显存|内存|步数|分辨率|参数|令牌|成本",
    ),
    (
        "BASELINE",
        r"(?:baseline|original|reference|current|existing)(?:'s)?",
        "基线|原来|原始|原版|当前|现有|baseline",
    ),
    ("to", "into|down to", "到|至|为|仅为"),
    (
        "",
        r"the|an?|about|around|roughly|approximately|ratio|factor|rate|overall|total|average|mean|relative|its|be"
        r"|been|only|just|model",
        "的|了|大约|约|将|把|平均",
    ),
)

# 5. Statements: amounts that are told, not demanded.

ANY = r"(?<![\d.~/])\d+(?:[.~/]\d+)*(?![.~/]?\d)(?:x|%|ms|s|min)?"
TOLD = r"(?:(?!MUST|≥|\b(?:and|but|so|then|to|for|please|make)\b|[但且并请])[^,;!?()\n.]|\.(?=[^\s])){0,120}"
METHOD = (
    r"(?<![a-z])(?:deepcache|tome(?:sd)?|t-?gate|torch\.compile|xformers|lcm|turbo|flash ?attention|sdpa|paper"
    r"|authors|methods?|techniques?|approach|caching|cache|quanti[sz]ation|compilation|fp16|alone)(?![a-z])"
    r"|论文|方法|缓存"
)

STATEMENTS = [
    *rewrites(
        ("至少快 2 倍", r"([≥≤]) ((?:FASTER|MORE|CUT|LOSS) (?:by )?)(?=\d)", r"\2\1"),
        ("基线的 60%", r"BASELINE ([≥≤]?\d[\d.~/]*[x%])", r"\1 of BASELINE"),
        ("≥ 60%", r"([≥≤±]) (?=\d)", r"\1"),
    ),
    *blanks(
        ("now it takes 3 s", rf"TODAY{TOLD}{ANY}{TOLD}"),
        (
            "the baseline takes 3 s",
            rf"BASELINE(?: (?!MUST|to\b|≥)[^\s,;.]+){{0,4}}? ?(?:STATES|STATED|:){TOLD}{ANY}{TOLD}",
        ),
        ("it was 2x", rf"STATED{TOLD}{ANY}{TOLD}"),
        ("known to give 2x", rf"KNOWN{TOLD}≥?{ANY}{TOLD}"),
        (
            "a method gives 2x",
            rf"(?:{METHOD})[\s),]*(?:(?!MUST|(?:to|and|so|that)\b)[^\s,;.]+ +){{0,3}}?"
            rf"(?:STATES|STATED|ALLOW){TOLD}{ANY}{TOLD}",
        ),
        ("no need to reach 2x", rf"NONEED[ a-zA-Z]*≥?{ANY}{TOLD}"),
        ("2x is not required", rf"≥?{ANY}{TOLD}NONEED"),
        ("2x if possible", rf"≥?{ANY}{TOLD}WISH"),
        ("an A100 is 2x faster than a V100", rf"▢ STATES ≥?{ANY} FASTER than ▢"),
        ("ideally 2x", r"WISH,?(?:[^,;.!?\n]|\.(?=\d)){0,120}"),
    ),
]
