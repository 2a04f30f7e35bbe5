/* SPDX-License-Identifier: MIT */
#ifndef WHYSTALL_SCHEMA_H
#define WHYSTALL_SCHEMA_H

extern const char schema_report[]; /* doc/report.schema.json, whole */

#endif
