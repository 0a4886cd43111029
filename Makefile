# `make demo` and `make test` set everything up by themselves.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
OUT := YOLOX_outputs/demo_p6

.PHONY: venv web check-web demo test test-all fuzz mutants check format bench clean

venv: $(READY)

$(READY): requirements.txt pyproject.toml setup.py
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=23" "setuptools>=68" wheel
	$(BIN)/python -m pip install --quiet -r requirements.txt
	$(BIN)/python -m pip install --quiet --no-build-isolation -e ".[dev,export]"
	touch $(READY)

demo:
	@echo "make demo: about 5 minutes on two free cores, of which setting up .venv takes 1 to 3"
	@echo "1/7 .venv" && $(MAKE) --no-print-directory $(READY)
	@echo "2/7 images" && $(BIN)/python datasets/make_synthetic.py --out datasets/demo \
		--size 128 --train 400 --val 120 --classes 4
	@echo "3/7 training" && $(BIN)/python tools/train.py -f exps/demo/demo_p6.py -b 8
	@echo "4/7 compression" && $(BIN)/python compress/prune.py --ckpt $(OUT)/best_ckpt.pth \
		--recipe configs/demo.yaml --out $(OUT)/sparse -b 8 --backends torch --resamples 100
	@echo "5/7 deployment run" && $(BIN)/python main.py --config configs/demo_sparse.json
	@echo "6/7 pictures" && $(BIN)/python tools/demo.py image -c $(OUT)/sparse/merged.pth \
		--path datasets/demo/val2017 --out $(OUT)/pictures --limit 24
	@echo "7/7 table" && $(BIN)/python compress/report.py $(OUT)/sparse/report.json
	@echo "pictures: $(OUT)/pictures"
	@echo "report: $(OUT)/sparse/report.html"

# The page of demo/web with a model of yours: make web CKPT=best_ckpt.pth [NAME=yolox-nano]
web: $(READY) demo/web/node_modules
	$(BIN)/python tools/export_onnx.py $(if $(CKPT),-c $(CKPT)) $(if $(NAME),-n $(NAME)) \
		--nms --conf 0.05 --output-name demo/web/model.onnx
	$(BIN)/python demo/web/serve.py

demo/web/node_modules: demo/web/package-lock.json
	cd demo/web && npm ci --silent
	touch $@

# The same page in headless Chromium, against ONNX Runtime in Python. Leaves a screenshot.
check-web: $(READY) demo/web/node_modules
	$(BIN)/python -m pip install --quiet "playwright>=1.40"
	command -v chromium >/dev/null || apt-get install -y -q chromium
	$(BIN)/python -m pytest -q -m web tests/web

test: $(READY)
	$(BIN)/python -m pytest -q -n 2 --dist worksteal

test-all: $(READY)
	$(BIN)/python -m pytest -q -m "not gpu and not web"

# Files and command lines of strangers, many more of them than in the tests: make fuzz EXAMPLES=2000
fuzz: $(READY)
	FUZZ_EXAMPLES=$(or $(EXAMPLES),2000) nice $(BIN)/python -m pytest -q tests/property

# Small faults in the code that the tests should notice (about an hour): SIZE of each package, SEED.
mutants: $(READY)
	nice $(BIN)/python -m tests.mutants --size $(or $(SIZE),25) --seed $(or $(SEED),0) $(MUTANTS)

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# One table of what takes time, beside official YOLOX: make bench DATA=COCO128 OFFICIAL=FOLDER
# (benchmarks/README.md says what the two are).
bench: $(READY)
	$(BIN)/python benchmarks --data $(DATA) $(if $(OFFICIAL),--official $(OFFICIAL))

clean:
	rm -rf $(VENV) YOLOX_outputs *.egg-info build dist
