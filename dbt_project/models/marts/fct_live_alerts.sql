select * from {{ ref('stg_live__alerts') }}
