# SPDX-License-Identifier: MIT
# make            build/whystall and build/libwhystall.so
# make demo       installs what is missing, builds, shows the verdict on a real FastAPI app
# make check      installs what is missing, builds, runs every test
# make V=1        shows the commands

BUILD  ?= build
CC     ?= gcc
PREFIX ?= /usr/local
V      ?=
Q       = $(if $(V),,@)
say     = $(if $(V),,@printf '  %-5s %s\n' '$(1)' '$(patsubst $(BUILD)/%,%,$(2))')

CFLAGS   ?= -O2 -g
WARN      = -Wall -Wextra -Werror
ALL_CFLAGS = -std=gnu11 -D_GNU_SOURCE -I. $(WARN) $(CFLAGS) -MMD -MP
LIBS      = -ldw -lelf -lsqlite3 -ljansson -liberty -lpthread

CLI_SRC  := $(wildcard cli/*.c cli/*/*.c)
CLI_OBJ  := $(CLI_SRC:%.c=$(BUILD)/%.o)
SHIM_SRC := $(wildcard preload/*.c)
SHIM_OBJ := $(SHIM_SRC:%.c=$(BUILD)/%.o)
UNIT     := $(patsubst tests/unit/%.c,$(BUILD)/tests/unit/%,$(wildcard tests/unit/*_test.c))

.DELETE_ON_ERROR:
.PHONY: all clean unit
all: $(BUILD)/whystall $(BUILD)/libwhystall.so

$(BUILD)/whystall: $(CLI_OBJ)
	$(call say,LINK,$@)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS)

$(BUILD)/libwhystall.so: $(SHIM_OBJ) $(wildcard preload/*.map)
	$(call say,LINK,$@)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -shared -nostartfiles -Wl,-soname,libwhystall.so -Wl,-z,now -o $@ $(SHIM_OBJ) \
		$(if $(wildcard preload/shim.map),-Wl$(comma)--version-script=preload/shim.map)
comma := ,

$(BUILD)/preload/%.o: preload/%.c
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) $(ALL_CFLAGS) -fPIC -fvisibility=hidden -ftls-model=initial-exec -fno-stack-protector -U_FORTIFY_SOURCE -c -o $@ $<

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) $(ALL_CFLAGS) -c -o $@ $<

# unit tests: tests/unit/NAME_test.c against everything but main
$(BUILD)/tests/unit/%: tests/unit/%.c $(filter-out $(BUILD)/cli/main.o,$(CLI_OBJ))
	@mkdir -p $(@D)
	$(call say,TEST,$@)
	$(Q)$(CC) $(ALL_CFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS) -lcmocka
unit: $(UNIT)
	@set -e; for t in $(UNIT); do $$t; done

clean:
	rm -rf $(BUILD)

-include $(CLI_OBJ:.o=.d) $(SHIM_OBJ:.o=.d)
