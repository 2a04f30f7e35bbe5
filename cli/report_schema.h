/* SPDX-License-Identifier: MIT */
#ifndef WHYSTALL_REPORT_SCHEMA_H
#define WHYSTALL_REPORT_SCHEMA_H

extern const char schema_report[]; /* doc/report.schema.json, whole */

#endif
