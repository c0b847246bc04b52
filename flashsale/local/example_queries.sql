-- Three queries to begin with. Open the snapshot with `duckdb warehouse.duckdb` or any BI tool's DuckDB driver.

-- 1. Which sales lost most to empty shelves?
SELECT campaign_id, units_sold, round(unconstrained_demand) AS demand, round(lost_units) AS lost, verdict
FROM marts.campaign_scores
WHERE level = 'campaign'
ORDER BY lost_units DESC
LIMIT 10;

-- 2. What did people write in the week before the sales that sold out fastest?
SELECT s.campaign_id, s.sku_id, min(s.sold_out_at - s.starts_at) AS sold_out_after,
       round(max(f.text_count_7d), 1) AS texts, round(max(f.sentiment_7d), 2) AS sentiment, round(max(f.intent_sum_7d), 1) AS intent
FROM marts.fct_sale_performance AS s
JOIN marts.feat_demand AS f USING (campaign_id, sku_id, region_id)
WHERE s.is_sold_out AND f.row_kind = 'campaign'
GROUP BY ALL
ORDER BY sold_out_after
LIMIT 10;

-- 3. The plan, by region: units, money tied up, expected margin
SELECT r.region_id, sum(r.allocate_units) AS units, sum(r.allocate_units * p.unit_cost) AS stock_value,
       round(sum(r.expected_margin), 2) AS expected_margin
FROM marts.allocation_recommendations AS r
JOIN marts.dim_products AS p USING (sku_id)
WHERE r.status = 'published'
GROUP BY r.region_id
ORDER BY units DESC;
