/* SPDX-License-Identifier: BSD-3-Clause */
#include "scripts.h"

const struct script scripts[] = {
	{"write", "fresh", "w 0 3 2; w 0 8 8; w 0 12 16; f 0; w 0 3 2; f 0"},
	{"fua", "fresh", "W 0 0 8; W 0 12 2; W 0 10 20; W 0 0 8"},
	{"trim", "shared", "t 0 0 64; f 0; w 0 8 8; T 0 8 8; w 0 0 32; f 0"},
	{"zero", "shared", "z 0 2 12; Z 0 0 32; f 0; Z 2 8 100; z 3 0 128; f 3; f 2"},
	{"snapshot", "fresh",
	 "w 0 0 40; s 0 1; w 0 4 8; f 0; s 1 2; w 1 4 8; f 1; s 2 3; w 3 0 3; f 3"},
	{"share", "shared", "w 0 0 8; w 2 0 8; w 3 0 8; W 0 8 8; s 2 4; W 4 20 30; f 2"},
	{"delete", "shared", "d 2; w 0 0 64; f 0; d 3; d 1; w 0 64 64; f 0"},
	{"create", "fresh", "c 1; w 1 0 8; f 1; d 1; c 1; w 1 8 8; f 1; d 0; c 2; d 2"},
	{"full", "full",
	 "w 0 64 8; w 0 0 8; f 0; t 1 0 16; w 0 64 8; d 2; w 0 0 16; f 0"},
	{"grow", "full", "w 0 64 16; g 4; w 0 64 16; f 0; m 8; w 0 80 16; f 0"},
	{"origin", "origin",
	 "w 0 70 4; W 1 72 12; t 0 8 8; z 0 0 30; s 0 3; w 3 0 4; f 0"},
	{"reopen", "shared",
	 "w 0 0 8; o; w 0 4 8; f 0; s 0 4; o; d 4; h; w 0 0 24; o; u; o"},
};

const unsigned nr_scripts = sizeof(scripts) / sizeof(scripts[0]);
