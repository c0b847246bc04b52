select * from {{ ref('stg_live__minutes') }}
