/* SPDX-License-Identifier: GPL-2.0 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM anon_vma_lazy

#if !defined(_TRACE_ANON_VMA_LAZY_H) || defined(TRACE_HEADER_MULTI_READ)
#define _TRACE_ANON_VMA_LAZY_H

#include <linux/mm_types.h>
#include <linux/tracepoint.h>

/* Private to mm/, so user space has to be told what they stand for. */
TRACE_DEFINE_ENUM(ANON_VMA_LAZY_FORK);
TRACE_DEFINE_ENUM(ANON_VMA_LAZY_LARGE);
TRACE_DEFINE_ENUM(ANON_VMA_LAZY_SIZE);
TRACE_DEFINE_ENUM(ANON_VMA_LAZY_MREMAP);
TRACE_DEFINE_ENUM(ANON_VMA_LAZY_SWAP);
TRACE_DEFINE_ENUM(ANON_VMA_LAZY_KSM);
TRACE_DEFINE_ENUM(ANON_VMA_LAZY_DEVICE);

#define show_anon_vma_lazy_cause(cause)					\
	__print_symbolic(cause,						\
		{ ANON_VMA_LAZY_FORK,	"fork" },			\
		{ ANON_VMA_LAZY_LARGE,	"large" },			\
		{ ANON_VMA_LAZY_SIZE,	"size" },			\
		{ ANON_VMA_LAZY_MREMAP,	"mremap" },			\
		{ ANON_VMA_LAZY_SWAP,	"swap" },			\
		{ ANON_VMA_LAZY_KSM,	"ksm" },			\
		{ ANON_VMA_LAZY_DEVICE,	"device" })

TRACE_EVENT(anon_vma_lazy_prepare,

	TP_PROTO(const struct vm_area_struct *vma),

	TP_ARGS(vma),

	TP_STRUCT__entry(
		__field(unsigned long,	start)
		__field(unsigned long,	end)
	),

	TP_fast_assign(
		__entry->start = vma->vm_start;
		__entry->end = vma->vm_end;
	),

	TP_printk("start=0x%lx end=0x%lx", __entry->start, __entry->end)
);

TRACE_EVENT(anon_vma_lazy_upgrade,

	TP_PROTO(const struct vm_area_struct *vma, unsigned int cause),

	TP_ARGS(vma, cause),

	TP_STRUCT__entry(
		__field(unsigned long,	start)
		__field(unsigned long,	end)
		__field(unsigned int,	cause)
	),

	TP_fast_assign(
		__entry->start = vma->vm_start;
		__entry->end = vma->vm_end;
		__entry->cause = cause;
	),

	TP_printk("start=0x%lx end=0x%lx cause=%s", __entry->start, __entry->end,
		  show_anon_vma_lazy_cause(__entry->cause))
);

TRACE_EVENT(anon_vma_lazy_contended,

	TP_PROTO(const struct folio *folio),

	TP_ARGS(folio),

	TP_STRUCT__entry(
		__field(unsigned long,	pfn)
		__field(unsigned long,	address)
	),

	TP_fast_assign(
		__entry->pfn = folio_pfn(folio);
		__entry->address = READ_ONCE(folio->index) << PAGE_SHIFT;
	),

	TP_printk("pfn=0x%lx address=0x%lx", __entry->pfn, __entry->address)
);

#endif /* _TRACE_ANON_VMA_LAZY_H */

/* This part must be outside protection */
#include <trace/define_trace.h>
