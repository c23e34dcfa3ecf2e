/** The existing reporter's defaults, by its names. */
export const NR_IBSR_DEFAULTS = {
  window_sec: 10,
  syn_rate_threshold: 100,
  success_ratio_threshold: 0.1,
  block_duration_sec: 300,
  fp_safe_ratio: 0.5,
  min_samples_for_fp: 10,
  vol_syn_rate: 500,
  vol_pkt_rate: 1000,
  vol_byte_rate: 1_000_000,
} as const;
